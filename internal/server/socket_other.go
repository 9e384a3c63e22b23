//go:build !linux

package server

import "net"

func newSocket(nc net.Conn) socket { return plainSocket{nc} }
