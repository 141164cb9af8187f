"""What processes show under /metrics."""
import re

# What Prometheus itself adds to every series.
ADDED_LABELS = {"job", "instance"}


class Series:
    """Each metric's samples, by their labels."""

    LINE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})? \S+$")
    LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

    def __init__(self):
        self.samples = {}

    def add(self, text):
        for line in text.splitlines():
            if found := self.LINE.match(line):
                labels = dict(self.LABEL.findall(found[2] or ""))
                self.samples.setdefault(found[1], []).append(labels)

    def labels_of(self, metric):
        return set().union(ADDED_LABELS, *self.samples.get(metric, []))

    def has(self, metric, wanted):
        wanted = {label: value for label, value in wanted.items() if label not in ADDED_LABELS}
        return any(all(label in sample and value in (None, sample[label]) for label, value in wanted.items())
                   for sample in self.samples.get(metric, []))
