package api

import (
	"errors"
	"reflect"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ErrorName is Kafka's name of an error code, NONE for 0.
func ErrorName(code int16) string {
	var known *kerr.Error
	switch {
	case code == 0:
		return "NONE"
	case code == kerr.NotLeaderForPartition.Code:
		return "NOT_LEADER_OR_FOLLOWER" // its name since Kafka 2.6
	case errors.As(kerr.ErrorForCode(code), &known):
		return known.Message
	}
	return kerr.UnknownServerError.Message
}

var topFields sync.Map // of types of responses: the index of ErrorCode, -1 without one

// topError is the error code of a whole answer; 0 for those that have codes only
// for their parts.
func topError(resp kmsg.Response) int16 {
	v := reflect.ValueOf(resp).Elem()
	known, ok := topFields.Load(v.Type())
	if !ok {
		i := -1
		if f, has := v.Type().FieldByName("ErrorCode"); has && f.Type.Kind() == reflect.Int16 {
			i = f.Index[0]
		}
		known, _ = topFields.LoadOrStore(v.Type(), i)
	}
	if i := known.(int); i >= 0 {
		return int16(v.Field(i).Int())
	}
	return 0
}
