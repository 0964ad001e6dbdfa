package config

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Bounds of a tree of the user's own shape. Aliases can make a small file an endless one.
const (
	maxFreeDepth = 32
	maxFreeNodes = 10_000
)

// plainFloat is a number as YAML 1.2 and JSON write it without quotes; the library takes it for text where it has no point, or more
// digits than an integer holds.
var plainFloat = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)([eE][-+]?[0-9]+)?$`)

// free decodes the mapping n into v, a Schema: what stands there becomes plain Go values that JSON can carry
// (map[string]any, []any, string, bool, int, uint64, float64, nil).
func (d *decoder) free(v reflect.Value, n ast.Node, path string) {
	if isScalar(n) || n.Type() == ast.SequenceType {
		d.pairs(n, path) // says what is wrong
		return
	}
	d.freeNodes = 0
	tree := d.plain(n, path, 0)
	if d.freeNodes > maxFreeNodes {
		d.valueFault(path, &valueError{"the values here go on for too long", fmt.Sprintf(
			"nest at most %d levels, write at most %d values, and let no alias stand for what it is part of", maxFreeDepth, maxFreeNodes)})
		return
	}
	v.Set(reflect.ValueOf(tree).Convert(v.Type()))
}

// plain is n as plain Go values; nil where it is null, and where a fault was found.
func (d *decoder) plain(n ast.Node, path string, depth int) any {
	if depth > maxFreeDepth {
		d.freeNodes = maxFreeNodes
	}
	if d.freeNodes++; d.freeNodes > maxFreeNodes {
		return nil
	}
	if n = d.resolve(n); n == nil || n.Type() == ast.NullType {
		return nil
	}
	switch t := n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		pairs, _ := d.pairs(n, path)
		out := make(map[string]any, len(pairs))
		for _, p := range pairs {
			out[keyText(p)] = d.plain(p.Value, join(path, keyText(p)), depth+1)
		}
		return out
	case *ast.SequenceNode:
		out := make([]any, 0, len(t.Values))
		for i, one := range t.Values {
			out = append(out, d.plain(one, element(path, i), depth+1))
		}
		return out
	case *ast.BoolNode:
		return t.Value
	case *ast.IntegerNode:
		return whole(t.Value)
	case *ast.FloatNode:
		if !math.IsInf(t.Value, 0) {
			return t.Value
		}
	case *ast.InfinityNode, *ast.NanNode:
	case *ast.StringNode:
		if t.Token.Type != token.StringType || !plainFloat.MatchString(t.Value) {
			return t.Value
		}
		if x, err := strconv.ParseFloat(t.Value, 64); err == nil {
			return x
		}
	default:
		return scalarText(n)
	}
	// A tree can be large: only the places of faults are looked up.
	d.fail(d.origin.place(Fault{File: d.origin.file, Key: path, Message: "JSON has no such number",
		Fix: "write a finite number, or put it in quotes"}, d.spotOf(n)))
	return nil
}

// whole is a YAML integer, which the parser gives as int64 or uint64, in the smallest Go type that holds it.
func whole(x any) any {
	switch n := x.(type) {
	case int64:
		return int(n)
	case uint64:
		if n <= math.MaxInt {
			return int(n)
		}
	}
	return x
}
