package record

import "time"

// PatientAttempts are attempts whose beginnings may be kept waiting by a test
// for longer than a buyer would wait.
func PatientAttempts(db *DB) *Attempts {
	a := NewAttempts(db)
	a.begin.timeout = time.Minute
	return a
}
