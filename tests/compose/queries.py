"""The metrics and labels in a query of Prometheus."""
import re

from series import ADDED_LABELS

WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
GROUPING = {"by", "without"}
# How two series are joined.
JOINING = {"on", "ignoring", "group_left", "group_right"}
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[[^\]]*\]|[A-Za-z_:][\w:]*|[0-9.]+[a-z]*|[=!<>~]+|[^\s]')
# What Prometheus itself makes.
MADE_METRICS = {"up"}


class Query:
    """`selected`: metrics with their matchers, `{label: value}`, where a value is `None` unless it must be equal.
    `grouped`: the labels by which it groups, or `None` if it groups nowhere. `joined`: those by which it joins."""

    def __init__(self, text):
        self.text, self.selected, self.grouped, self.joined = text, [], None, set()
        tokens = TOKEN.findall(text)
        while tokens:
            self.read(tokens)

    def read(self, tokens):
        token = tokens.pop(0)
        following = tokens[0] if tokens else ""
        if token in GROUPING:
            self.grouped = (self.grouped or set()) | parenthesized(tokens)
        elif token in JOINING:
            self.joined |= parenthesized(tokens) if following == "(" else set()
        elif re.match(r"[A-Za-z_:]", token) and following != "(" and token not in WORDS:
            # An operator such as `sum` may name its labels before its argument.
            if following not in GROUPING or token.startswith(("ledgerway_", "process_")):
                self.selected.append((token, matchers(tokens) if following == "{" else {}))

    def wrong_with(self, series, shown_labels=()):
        """What it names that no process has. `shown_labels` are those of its legend."""
        known = ADDED_LABELS.union(*(series.labels_of(metric) for metric, _ in self.selected))
        for metric, wanted in self.selected:
            if metric not in MADE_METRICS and not series.has(metric, wanted):
                yield f"no process has {metric} with {wanted or 'any labels'}: {self.text}"
        for label in sorted(((self.grouped or set()) | self.joined) - known):
            yield f"none of its metrics has the label {label}: {self.text}"
        for label in sorted(set(shown_labels) - (known if self.grouped is None else self.grouped)):
            yield f"its legend names the label {label}, which its result does not have: {self.text}"


def parenthesized(tokens):
    tokens.pop(0)
    labels = set()
    while (token := tokens.pop(0)) != ")":
        if token != ",":
            labels.add(token)
    return labels


def matchers(tokens):
    tokens.pop(0)
    found = {}
    while (label := tokens.pop(0)) != "}":
        if label == ",":
            continue
        operator, value = tokens.pop(0), tokens.pop(0)
        found[label] = value.strip('"') if operator == "=" else None
    return found
