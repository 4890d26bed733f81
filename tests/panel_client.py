"""The App's side of a Python panel, without a browser: it keeps state and data, and asks."""

import json
import time

import fiftyone.operators as foo

URI = "@mincurate/mincurate/long_tail"


class Client:
    """A panel that is open on a dataset.

    Attributes:
        state: what goes with every request.
        data: what the figures and pictures show, by path.
        layout: what is where, as the App gets it.
        grid: the stages that the grid was told to show last.
        asked: the operators the panel has called in the App, and with what, since it was asked.
        sent, received: bytes of the last request and of its answer.
        seconds: that the answer took.
    """

    def __init__(self, dataset):
        self.dataset, self.state, self.data, self.selected = dataset, {}, {}, []
        self.grid = None
        self("on_load")

    def __call__(self, method, selected=None, current=None, **params):
        if selected is not None:
            self.selected = list(selected)
        request = {"__method__": method, "panel_id": "p", "panel_state": self.state, **params}
        self.sent = len(json.dumps(request))
        started = time.monotonic()
        done = foo.execute_operator(
            URI,
            dataset=self.dataset,
            params=json.loads(json.dumps(request)),
            selected=self.selected,
            current_sample=current,
        )
        self.seconds = time.monotonic() - started
        self.dataset.reload()
        answers = done.to_json()["executor"]["requests"]
        self.received = len(json.dumps(answers, default=str))
        self.asked = []
        for answer in answers:
            name, params = answer["operator_uri"].rpartition("/")[2], answer["params"]
            if name == "patch_panel_state":
                self.state |= params["state"]
            elif name == "patch_panel_data":
                self.data |= params["data"]
            elif name in ("clear_panel_state", "clear_panel_data"):
                (self.state if "state" in name else self.data).clear()
            elif name == "show_panel_output":
                self.layout = params["output"]
            else:
                self.asked.append((name, params))
                if name == "set_view":
                    self.grid = params["view"]
        return self

    def shown(self):
        """Paths of the samples in the grid, in order."""
        from fiftyone.core.view import DatasetView

        return DatasetView._build(self.dataset, self.grid).values("filepath")

    def ids(self, paths):
        """Ids of the samples of some files."""
        ids, present = self.dataset.values(["id", "filepath"])
        where = dict(zip(present, ids, strict=True))
        return [where[path] for path in paths]

    def said(self):
        """Notifications of the last request."""
        return [params["message"] for name, params in self.asked if name == "notify"]

    def texts(self):
        """All Markdown in sight, by path."""
        return {p: d for p, v, d in self._parts() if v == "MarkdownView"}

    def buttons(self):
        """Labels of the buttons in sight that can be clicked."""
        return [v.get("label") for v in self.views("Button") if not v.get("disabled")]

    def pictures(self):
        """Pictures in sight: what a click on each says, and its data."""
        found = []
        for path, _, _, view in self._walk(self.layout["type"], ""):
            if view.get("name") == "ImageView":
                found.append((view.get("params") or {}, self.data.get(path)))
        return found

    def views(self, name):
        """What FiftyOne was told of all parts of a kind, such as Button."""
        return [v for _, _, _, v in self._walk(self.layout["type"], "") if v.get("name") == name]

    def _parts(self):
        return ((p, v.get("name"), d) for p, _, d, v in self._walk(self.layout["type"], ""))

    def _walk(self, kind, path):
        for name, part in (kind.get("properties") or {}).items():
            here = f"{path}.{name}" if path else name
            yield here, part["type"], part.get("default"), part.get("view") or {}
            yield from self._walk(part["type"], here)
