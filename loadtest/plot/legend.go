package plot

import "math"

// names are what the legend explains: lines, or the bands of a strip, once each.
func (p Panel) names() (out []string) {
	seen := map[string]bool{}
	add := func(n string) {
		if !seen[n] {
			seen[n] = true
			out = append(out, n)
		}
	}
	for _, l := range p.Lines {
		add(l.Name)
	}
	for _, b := range p.Bands {
		add(b.Name)
	}
	return out
}

// room is how much height a panel's name and legend take above it.
func (c *canvas) room(p Panel) float64 {
	if n := len(c.rows(p)); n > 1 || n == 1 && !c.besideName(p) {
		return between + legendRow*float64(n)
	}
	return between
}

// entry is how wide a name is in the legend, with its sign.
func entry(name string) float64 { return float64(len([]rune(name)))*perLetter + 38 }

// besideName says whether the whole legend fits into the line of the panel's name.
func (c *canvas) besideName(p Panel) bool {
	all := float64(len([]rune(p.Y)))*perLetter + 30
	for _, n := range p.names() {
		all += entry(n)
	}
	return all < c.width-right-left+46
}

// rows divides what the legend explains into lines; none if the panel's name says it.
func (c *canvas) rows(p Panel) (rows [][]int) {
	names := p.names()
	if len(names) < 2 && len(p.Bands) == 0 {
		return nil
	}
	wide := math.Inf(1)
	for i, n := range names {
		if wide += entry(n); wide > c.width-right-left+46 {
			rows, wide = append(rows, nil), entry(n)
		}
		rows[len(rows)-1] = append(rows[len(rows)-1], i)
	}
	return rows
}

// legend is written from the right edge, so that the panel's name has the left; below
// the name, if they don't fit beside each other.
func (c *canvas) legend(p Panel, top float64) {
	names, rows := p.names(), c.rows(p)
	for k, row := range rows {
		x, y := c.width-right, top-14-legendRow*float64(len(rows)-1-k)
		for j := len(row) - 1; j >= 0; j-- {
			i := row[j]
			x -= float64(len([]rune(names[i]))) * perLetter
			c.text(x, y, "", "start", names[i])
			if i < len(p.Lines) {
				c.add(`<line class="l s%d%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, c.colour[names[i]], dashes(p.Lines[i]), x-24, y-4, x-6, y-4)
			} else {
				c.add(`<rect class="b c%d" x="%.1f" y="%.1f" width="12" height="12"/>`, c.colour[names[i]], x-18, y-10)
			}
			x -= 38
		}
	}
}

// marks are written in rows, so that neighbours don't cover each other.
func (c *canvas) marks(all []Mark, top, bottom float64) {
	var ends []float64 // of each row's last word
	for _, m := range all {
		if m.At < c.lo || m.At > c.hi {
			continue
		}
		x, long := c.x(m.At), float64(len([]rune(m.Name)))*perLetter
		from, anchor := x+4, "start"
		if from+long > c.width-right {
			from, anchor = x-4-long, "end"
		}
		row := 0
		for row < len(ends) && from < ends[row] {
			row++
		}
		if row == len(ends) {
			ends = append(ends, 0)
		}
		ends[row] = from + long + 6
		c.rule("mark", x, top, x, bottom)
		c.text(map[string]float64{"start": from, "end": from + long}[anchor], top+12+14*float64(row), "m", anchor, m.Name)
	}
}
