// Package compose proves docker-compose.yml with a real Docker engine: the whole composition comes up, answers signed callbacks
// through nginx while its containers are killed, restarted, replaced and scaled, and goes down again. Its test is built with the
// tag compose only, and run by deploy/check (make compose), which starts the engine and builds the images.
package compose
