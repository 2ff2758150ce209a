// Package scripts carries what the program needs of this directory.
package scripts

import _ "embed"

// VerifyPlaces is verify-places.py, the check of a waiting room's places that shares
// no code with it.
//
//go:embed verify-places.py
var VerifyPlaces string
