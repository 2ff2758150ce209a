package reservation

// Key gives one of a sale's keys to tests: sale, sku, buyers, q1…q4 or out.
func Key(saleNo uint32, name string) string { return KeyOf(saleNo, 0, name) }

// KeyOf gives one of a shard's keys.
func KeyOf(saleNo uint32, shard int, name string) string {
	for _, k := range keysOf(saleNo, shard).all {
		if k[len(k)-len(name)-1:] == ":"+name {
			return k
		}
	}
	panic("no key " + name)
}
