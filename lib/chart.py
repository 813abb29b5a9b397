"""Line charts with intervals, as SVG written by hand: no library, and it opens anywhere."""

# Okabe and Ito's colours, which colour-blind readers can tell apart. (Their black: the text's.)
COLOURS = ("#767676", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
COLOURS += ("currentColor",)

# The size of a panel, and the margins inside it, in pixels.
WIDTH, HEIGHT = 400, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 34, 40
NAME, ROW = 112, 22  # of the legend below: the width of a name, the height of a row


def line_chart(panels, ticks, first=0):
    """Panels side by side, one legend for all → the text of an SVG file.

    panels: {title: {name of a line: [(mean, low, high), …]}}, shares in [0, 1] at each of the
    ticks, which are words. All panels have the same lines. first: the place of the first colour.
    """
    # The legend: as many names in a row as there is room for.
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    width = WIDTH * len(panels)
    in_row = (width - LEFT) // NAME
    height = HEIGHT + 12 + ROW * -(-len(names) // in_row)

    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    style = 'font-family="sans-serif" fill="currentColor"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>']
    parts.append('<rect class="paper" width="100%" height="100%" fill="white"/>')
    for column, (title, lines) in enumerate(panels.items()):
        parts.append(f'<g transform="translate({WIDTH * column} 0)" font-size="13">')
        parts += draw_frame(title, ticks)
        for i, estimates in enumerate(lines.values()):
            # Side by side, so that the intervals of two lines do not cover each other.
            shift = 6 * (i - (len(lines) - 1) / 2)
            colour = COLOURS[(first + i) % len(COLOURS)]
            parts += draw_line(estimates, colour, shift)
        parts.append("</g>")

    for i, name in enumerate(names):
        x, y = LEFT + NAME * (i % in_row), HEIGHT + 13 + ROW * (i // in_row)
        colour = COLOURS[(first + i) % len(COLOURS)]
        parts.append(f'<circle cx="{x}" cy="{y}" r="5" fill="{colour}"/>')
        parts.append(f'<text x="{x + 10}" y="{y + 5}" font-size="13">{name}</text>')
    return "\n".join([*parts, "</svg>\n"])


def place(x, count, share):
    """The pixel of a value: x of 1 … count, share in [0, 1]."""
    across = LEFT + (WIDTH - LEFT - RIGHT) * (x - 0.5) / count
    down = TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)
    return round(across, 1), round(down, 1)


def draw_frame(title, ticks):
    """Title, grid and axes of a panel, from 0 to 100 %."""
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts = [f'<text x="{middle}" y="20" text-anchor="middle" font-weight="bold">{title}</text>']
    for percent in range(0, 101, 20):
        _, y = place(1, 1, percent / 100)
        parts.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#888888" opacity="0.35"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{percent} %</text>')
    for number, tick in enumerate(ticks, 1):
        x, y = place(number, len(ticks), 0)
        parts.append(f'<text x="{x}" y="{y + 20}" text-anchor="middle">{tick}</text>')
    return parts


def draw_line(estimates, colour, shift):
    """A line through the means, a dot for each, and a bar for its interval."""
    points = []
    marks = []
    for number, estimate in enumerate(estimates, 1):
        (x, y), (_, bottom), (_, top) = [place(number, len(estimates), s) for s in estimate]
        x = round(x + shift, 1)
        points.append(f"{x},{y}")
        marks.append(f'<path d="M{x} {bottom}V{top}" stroke="{colour}" stroke-width="2"/>')
        marks.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"/>')
    style = f'fill="none" stroke="{colour}" stroke-width="1.5"'
    return [f'<polyline points="{" ".join(points)}" {style}/>', *marks]
