"""plots.py: draws rows of the benches as SVG, with nothing but Python's standard library."""
import html
import math
import re

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 80, 40, 40, 54
COLOURS = ["#1b6ca8", "#d1495b", "#edae49", "#66a182", "#8d6a9f", "#777777"]
STYLE = "font-family='sans-serif' font-size='12' fill='#333'"


def number(value):
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"


class Axis:
    """Maps values to [first, last] pixels; logarithmic over more than a decade or two."""

    def __init__(self, values, first, last, log, from_zero=False):
        low, high = min(values), max(values)
        self.log = log
        if log:
            self.low, self.high = math.floor(math.log10(low)), math.ceil(math.log10(high))
            self.high = max(self.high, self.low + 1)
        else:
            self.low, self.high = 0 if from_zero else low, high * 1.1 if from_zero else high
            if self.high == self.low:
                self.high += 1
        self.first, self.last = first, last

    def at(self, value):
        position = math.log10(value) if self.log else value
        return self.first + (self.last - self.first) * (position - self.low) / (self.high - self.low)

    def ticks(self):
        if self.log:
            return [10.0 ** e for e in range(self.low, self.high + 1)]
        step = 10 ** math.floor(math.log10(self.high - self.low))
        for divisor in (5, 2, 1):
            if (self.high - self.low) / (step / divisor) <= 8:
                step /= divisor
                break
        return [i * step for i in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def document(title, parts, height=HEIGHT):
    return (f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' "
            f"viewBox='0 0 {WIDTH} {height}'>\n"
            f"<rect width='100%' height='100%' fill='white'/>\n"
            f"<text x='{WIDTH / 2}' y='20' text-anchor='middle' font-weight='bold' {STYLE}>{html.escape(title)}</text>\n"
            + "\n".join(parts) + "\n</svg>\n")


def text(x, y, content, anchor="middle", extra=""):
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' {extra} {STYLE}>{html.escape(content)}</text>"


def lines(title, x_title, y_title, series, x_labels=None, y_log=False):
    """series: name -> [(x, y)]. The x axis is logarithmic."""
    points = [point for curve in series.values() for point in curve]
    x = Axis([p[0] for p in points], LEFT, WIDTH - RIGHT, True)
    x.low, x.high = math.log10(min(p[0] for p in points)), math.log10(max(p[0] for p in points))
    y = Axis([p[1] for p in points], HEIGHT - BOTTOM, TOP + 18 * len(series), y_log, from_zero=not y_log)
    parts = []
    for tick in y.ticks():
        parts.append(f"<path d='M{LEFT},{y.at(tick):.1f} H{WIDTH - RIGHT}' stroke='#ddd'/>")
        parts.append(text(LEFT - 6, y.at(tick) + 4, number(tick), "end"))
    for value in sorted({p[0] for p in points}):
        label = x_labels[value] if x_labels else f"{value:,}"
        parts.append(text(x.at(value), HEIGHT - BOTTOM + 16, label))
    for i, (name, curve) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        path = " ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in sorted(curve))
        parts.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>")
        parts += [f"<circle cx='{x.at(a):.1f}' cy='{y.at(b):.1f}' r='3' fill='{colour}'/>" for a, b in curve]
        parts.append(f"<rect x='{LEFT + 10}' y='{30 + 18 * i}' width='12' height='12' fill='{colour}'/>")
        parts.append(text(LEFT + 28, 41 + 18 * i, name, "start"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_title))
    parts.append(text(24, middle, y_title, extra=f"transform='rotate(-90 24 {middle})'"))
    return document(title, parts)


def bars(title, groups, log=True):
    """groups: name -> [(subject, value)]; a bar for each value, with the value behind it."""
    values = [value for group in groups.values() for _, value in group if value > 0]
    subjects = list(dict.fromkeys(subject for group in groups.values() for subject, _ in group))
    x = Axis(values, 190, WIDTH - 70, log, from_zero=not log)
    parts, y = [], 36
    for name, group in groups.items():
        parts.append(text(10, y + 12, name, "start", "font-weight='bold'"))
        y += 20
        for subject, value in group:
            end = x.at(value) if value > 0 else x.first
            colour = COLOURS[subjects.index(subject) % len(COLOURS)]
            parts.append(text(184, y + 12, subject, "end"))
            parts.append(f"<rect x='190' y='{y + 1}' width='{max(1, end - 190):.1f}' height='14' fill='{colour}'/>")
            parts.append(text(max(191, end) + 4, y + 12, number(value), "start"))
            y += 18
        y += 8
    if log:
        title += " (logarithmic)"
    return document(title, parts, y + 10)


SIZES = {"B": 1, "KB": 1024}


def draw(rows, folder):
    """Draws what there are rows for."""
    folder.mkdir(parents=True, exist_ok=True)

    def save(name, svg):
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")

    def curve(bench, pattern, metric, sized=False, subject="mqtt.hpp"):
        """(x, value) of the cases that match: x is the first group, or with `sized` the two that are bytes."""
        found = []
        for row in rows:
            match = re.fullmatch(pattern, row[1])
            if row[0] == bench and row[2] == subject and row[3] == metric and match:
                found.append((int(match[1]) * (SIZES[match[2]] if sized else 1), row[4]))
        return sorted(found)

    def series(curves):
        return {name: points for name, points in curves.items() if len(points) > 1}

    def grouped(bench, cases, metric):
        groups = {}
        for case, name in cases.items():
            group = [(row[2], row[4]) for row in rows if row[0] == bench and row[1] == case and row[3] == metric]
            if group:
                groups[name] = group
        return groups

    def both_versions(patterns, sized=False):
        """name: pattern of the cases of `scale`, without the version behind them."""
        return series({f"{name}, {version}": curve("scale", f"{pattern}, {re.escape(version)}", "instructions", sized)
                       for name, pattern in patterns.items() for version in ("3.1.1", "5")})

    publish, receive = "publish QoS 1 and its ack", "receive QoS 0"
    in_flight = both_versions({"acknowledged in order": rf"{publish}, in flight (\d+)",
                               "in random order": rf"{publish}, in random order, in flight (\d+)",
                               "newest first": rf"{publish}, newest first, in flight (\d+)"})
    if in_flight:
        save("in_flight", lines("Instructions per QoS 1 message and its acknowledgement", "messages in flight",
                                "instructions", in_flight))
    sizes = both_versions({f"{publish}, size of tx": rf"{publish}, tx (\d+) (K?B)",
                           f"{receive}, size of rx": rf"{receive}, rx (\d+) (K?B)"}, sized=True)
    if sizes:
        labels = {4 ** i: f"{4 ** i} B" if i < 5 else f"{4 ** i // 1024} KB" for i in range(10)}
        save("buffers", lines("Instructions per message against the size of a buffer", "buffer", "instructions", sizes,
                              {**labels, 1048576: "1 MB"}))
    topics = both_versions({name: rf"{name}, topic (\d+) (K?B)" for name in (publish, receive)}, sized=True)
    if topics:
        save("topic", lines("Instructions per message against the length of the topic", "bytes of topic", "instructions",
                            topics, y_log=True))
    for name, metric, title in (("clients_memory", "resident memory", "Resident memory per client, with its buffers"),
                                ("clients_cpu", "cpu", "Processor time per QoS 1 message and its acknowledgement"),
                                ("clients_instructions", "instructions",
                                 "Instructions per QoS 1 message and its acknowledgement, with the event loop")):
        points = series({"mqtt.hpp": curve("scale", r"(\d+) clients in one process", metric)})
        if metric == "resident memory":   # of one client alone it is mostly the program's
            points = series({key: [p for p in value if p[0] > 1] for key, value in points.items()})
        if points:
            save(name, lines(title, "clients in one process, on one event loop",
                             {"resident memory": "bytes", "cpu": "µs"}.get(metric, metric), points))
    codec = grouped("codec", {f"{case}, 3.1.1": case for case in (
        "encode CONNECT", "encode PUBLISH QoS 1, 16 B, copied", "encode PUBLISH QoS 1, 256 B, copied",
        "encode PUBLISH QoS 1, 4096 B, copied", "encode SUBSCRIBE(3)", "decode PUBLISH QoS 1, 16 B",
        "decode PUBLISH QoS 1, 256 B", "decode PUBACK", "decode SUBACK(3)", "decode CONNACK")}, "instructions")
    if codec:
        save("codec", bars("Instructions to encode and decode, MQTT 3.1.1", codec, log=False))
    rate = grouped("throughput", {
        "into a sink, QoS 0, 16 B": "publish QoS 0 into a process that takes all, 16 B",
        "from a source, QoS 0, 16 B": "receive QoS 0, 16 B",
        "answered in batches, QoS 1, 16 B, in flight 20": "publish QoS 1, answered in batches, 20 in flight",
        "to mosquitto, QoS 1, 16 B, in flight 100": "publish QoS 1 to mosquitto, 100 in flight"}, "rate")
    if rate:
        save("rate", bars("Messages per second", rate))
    calls = grouped("throughput", {
        "into a sink, QoS 0, 16 B": "publish QoS 0, 16 B",
        "answered in batches, QoS 1, 16 B, in flight 20": "publish QoS 1, answered in batches, 20 in flight",
        "to mosquitto, QoS 1, 16 B, in flight 20": "publish QoS 1 to mosquitto, 20 in flight",
        "from a source, QoS 0, 16 B": "receive QoS 0, 16 B"}, "system_calls")
    if calls:
        save("system_calls", bars("System calls per message", calls))
    cpu = grouped("throughput", {f"to mosquitto, QoS {qos}, 16 B, in flight 100":
                                 f"publish QoS {qos} to mosquitto, 100 in flight, 16 B" for qos in (1, 2)}, "cpu")
    if cpu:
        save("cpu", bars("Processor time per message, µs", cpu, log=False))
