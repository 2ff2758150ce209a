//go:build !unix

package api

const canReadNow = false

func readNow(uintptr, []byte) (n int, again bool) { return -1, false }
