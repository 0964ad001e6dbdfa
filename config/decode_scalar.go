package config

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// setScalar sets v from the text of a scalar, from the file or a variable. Its errors are *valueError.
func setScalar(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		duration, err := parseDuration(text)
		if err != nil {
			return err
		}
		v.SetInt(int64(duration))
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.Kind() == reflect.Int, v.Kind() == reflect.Int64:
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return &valueError{fmt.Sprintf("%q is not a whole number", text), "write digits only"}
		}
		v.SetInt(n)
	case v.Kind() == reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsInf(x, 0) || math.IsNaN(x) {
			return &valueError{fmt.Sprintf("%q is not a number", text), "write digits, with a point where it is a fraction: 0.7"}
		}
		v.SetFloat(x)
	case v.Kind() == reflect.Bool:
		if text != "true" && text != "false" {
			return &valueError{fmt.Sprintf("%q is neither true nor false", text), "write true or false"}
		}
		v.SetBool(text == "true")
	default:
		panic("config: no decoding for " + v.Type().String()) // a field of a new type: the tests walk all fields
	}
	return nil
}

func keyText(p *ast.MappingValueNode) string {
	if k, ok := p.Key.(*ast.MappingKeyNode); ok && k.Value != nil {
		return k.Value.GetToken().Value
	}
	return p.Key.GetToken().Value
}

func isScalar(n ast.Node) bool {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		return false
	default:
		return true
	}
}

// scalarText is the value as it was written, so that a token 0123 stays what it is.
func scalarText(n ast.Node) string {
	switch s := n.(type) {
	case *ast.StringNode:
		return s.Value
	case *ast.LiteralNode:
		return s.Value.Value
	default:
		return n.GetToken().Value
	}
}

func describe(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	default:
		return "a single value"
	}
}

// element is the path of the i-th element of the list at path.
func element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
