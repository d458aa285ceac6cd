package wire

// FieldNames are the names of the fields, in the order of their bits.
var FieldNames = fieldNames

// MayHave says whether the body of a kind may have the field of a bit.
func MayHave(kind Kind, bit uint) bool { return kinds[kind].fields&(1<<bit) != 0 }
