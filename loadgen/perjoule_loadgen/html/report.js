"use strict";
// A cursor with the values under it (mouse, touch, arrow keys), and zoom on the x axis (drag; Escape or double click
// shows all again). The charts are complete without it.
(() => {
  const size = 1000;
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const number = (value, digits = 3) => Number(value.toPrecision(digits)).toLocaleString("en");
  const prefixes = [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]];
  const scaled = (value, unit) => {
    if (unit === "%") return `${number(value * 100)} %`;
    if (unit === "") return number(value, 4);
    if (unit === "s from start") return `${number(value, 5)} s`;
    const [factor, prefix] = prefixes.find(([each]) => Math.abs(value) >= each) || [1, ""];
    return `${number(value / factor)} ${prefix}${unit}`;
  };
  const ticks = (low, high) => {
    const rough = (high - low) / 6, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => (high - low) / each <= 6);
    const found = [];
    for (let at = Math.ceil(low / step); at * step <= high * (1 + 1e-12); at += 1) found.push(Number((at * step).toPrecision(12)));
    return found;
  };
  const nearest = (points, x) => {
    let low = 0, high = points.length - 1;
    while (high - low > 1) { const middle = (low + high) >> 1; if (points[middle][0] < x) low = middle; else high = middle; }
    return Math.abs(points[low][0] - x) <= Math.abs(points[high][0] - x) ? low : high;
  };

  for (const figure of document.querySelectorAll("figure.chart")) {
    const source = figure.querySelector("script.data");
    if (!source) continue;
    const data = JSON.parse(source.textContent);
    const plot = figure.querySelector(".plot"), area = figure.querySelector(".area"), svg = area.querySelector("svg");
    const cursor = area.querySelector(".cursor"), readout = figure.querySelector(".readout");
    const axis = figure.querySelector(".x-axis"), allTicks = axis.innerHTML;
    const longest = data.lines.reduce((best, line) => (line.points.length > best.points.length ? line : best), data.lines[0]);
    let view = [0, 1], shown = 0, from = null, box = null;
    const value = (share) => data.x.log ? data.x.low * (data.x.high / data.x.low) ** share : data.x.low + (data.x.high - data.x.low) * share;
    const share = (x) => data.x.log ? Math.log(x / data.x.low) / Math.log(data.x.high / data.x.low) : (x - data.x.low) / (data.x.high - data.x.low);
    const inView = (at) => (at - view[0]) / (view[1] - view[0]);

    const show = (x) => {
      const at = inView(share(x));
      cursor.hidden = at < 0 || at > 1;
      cursor.style.left = `${at * 100}%`;
      const parts = data.lines.filter((line) => line.points.length).map((line) => {
        const [, y] = line.points[nearest(line.points, x)];
        return `${line.name} ${scaled(y, data.y.unit)}`;
      });
      const band = data.bands.find((each) => each.low <= x && x <= each.high);
      readout.textContent = [scaled(x, data.x.unit), ...parts, ...(band ? [band.name] : [])].join(" · ");
    };
    const zoom = (low, high) => {
      view = high - low < 1e-4 ? [0, 1] : [low, high];
      svg.setAttribute("viewBox", `${view[0] * size} 0 ${(view[1] - view[0]) * size} ${size}`);
      const whole = view[0] === 0 && view[1] === 1;
      for (const label of area.querySelectorAll(".band-label")) label.hidden = !whole;
      if (whole) { axis.innerHTML = allTicks; return; }
      axis.replaceChildren(...(data.x.log ? [0.1, 0.5, 0.9].map((each) => value(view[0] + each * (view[1] - view[0]))) : ticks(value(view[0]), value(view[1]))).map((x) => {
        const span = document.createElement("span");
        span.textContent = data.x.unit === "s from start" ? number(x, 6) : scaled(x, data.x.unit);
        span.style.left = `${inView(share(x)) * 100}%`;
        if (inView(share(x)) > 0.9) span.className = "end";
        return span;
      }));
    };
    const under = (event) => {
      const bounds = area.getBoundingClientRect();
      return view[0] + clamp((event.clientX - bounds.left) / bounds.width, 0, 1) * (view[1] - view[0]);
    };
    area.addEventListener("pointermove", (event) => {
      const at = under(event);
      shown = nearest(longest.points, value(at));
      show(value(at));
      if (!box) return;
      const ends = [inView(Math.min(from, at)), inView(Math.max(from, at))];
      box.style.left = `${ends[0] * 100}%`;
      box.style.width = `${(ends[1] - ends[0]) * 100}%`;
    });
    area.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch" || event.button !== 0) { show(value(under(event))); return; }
      from = under(event);
      box = document.createElement("div");
      box.className = "selected";
      area.append(box);
      area.setPointerCapture(event.pointerId);
    });
    area.addEventListener("pointerup", (event) => {
      if (!box) return;
      box.remove();
      box = null;
      const at = under(event);
      if (Math.abs(inView(at) - inView(from)) > 0.02) zoom(Math.min(from, at), Math.max(from, at));
    });
    area.addEventListener("pointercancel", () => { if (box) { box.remove(); box = null; } });
    area.addEventListener("pointerleave", () => { cursor.hidden = true; });
    area.addEventListener("dblclick", () => zoom(0, 1));
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, PageDown: 20, PageUp: -20 }[event.key];
      if (event.key === "Escape") zoom(0, 1);
      if (!step) return;
      event.preventDefault();
      shown = clamp(shown + step, 0, longest.points.length - 1);
      show(longest.points[shown][0]);
    });
  }

  const asked = document.getElementById("per-day"), each = document.getElementById("each");
  if (asked && each) {
    const of = JSON.parse(each.textContent), projected = document.getElementById("projected");
    const words = (requests) => {
      const parts = [`${number(of.kwh * requests)} kWh`];
      if (of.grams !== null) parts.push(of.grams * requests >= 1000 ? `${number(of.grams * requests / 1000)} kg CO2e` : `${number(of.grams * requests)} g CO2e`);
      if (of.cost !== null) parts.push(`${number(of.cost * requests)} ${of.currency}`);
      return parts.join(", ");
    };
    asked.closest(".asked").hidden = false;
    asked.addEventListener("input", () => {
      const requests = Number(asked.value);
      if (!(requests >= 1)) return;
      projected.querySelector(".at").textContent = `At ${requests.toLocaleString("en")} requests a day:`;
      projected.querySelector(".sum").textContent = `${words(requests)} a day, ${words(requests * 365)} a year`;
    });
  }

  const button = document.getElementById("theme");
  if (button) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const root = document.documentElement;
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
    });
  }
})();
