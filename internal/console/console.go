// Package console is the web page: static files that show what /v1/state says.
//
// It is not an application server: the page asks the JSON API once a second
// and draws the answer; it holds no state that matters.
package console

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed page
var files embed.FS

// Handler serves the page. Unknown paths are 404.
func Handler() http.Handler {
	sub, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // the directory is embedded; a build without it can't exist
	}
	h := http.FileServerFS(sub)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; style-src 'self'; script-src 'self'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-cache")
		h.ServeHTTP(w, r)
	})
}
