package remote

import "embed"

// Schemas are the JSON Schemas (draft 2020-12) of the contract: schema/request.schema.json, schema/response.schema.json, and those of a
// model's tools.
//
//go:embed schema/*.schema.json
var Schemas embed.FS
