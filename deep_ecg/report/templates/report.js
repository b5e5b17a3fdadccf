"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const offset = data.start_of_day_s || 0;
  const DAY = 86400;
  const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 10800, 21600, 43200, DAY, 2 * DAY, 7 * DAY];
  const COLUMNS = 1600; // of the whole record that are drawn at a time
  const HELD_VIEW_S = 120; // in a view up to so long, strips are drawn sample by sample
  const plots = [];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const two = (value) => String(value).padStart(2, "0");

  function clock(x, digits) {
    const tenths = Math.round(x * 10);
    let seconds = Math.floor(tenths / 10), day = 0;
    if (data.start_of_day_s !== null) [day, seconds] = [Math.floor(seconds / DAY), seconds % DAY];
    const hours = Math.floor(seconds / 3600), shown = data.start_of_day_s === null ? hours : two(hours);
    const text = (day && data.duration_s > DAY ? "+" + day + " d " : "") + shown + ":" + two(Math.floor(seconds / 60) % 60);
    return digits ? text + ":" + two(seconds % 60) + (digits > 1 ? "." + (tenths % 10) : "") : text;
  }

  function timeAxis() {
    return {
      stroke: () => colour("soft"), grid: { stroke: () => colour("line"), width: 1 }, ticks: { stroke: () => colour("line"), width: 1 },
      incrs: STEPS, space: 70,
      values: (plot, splits, axis, space, step) => splits.map((x) => clock(x, step >= 60 ? 0 : step >= 1 ? 1 : 2)),
    };
  }

  function valueAxis(space) {
    return {
      stroke: () => colour("soft"), grid: { stroke: () => colour("line"), width: 1 }, ticks: { show: false },
      size: 44, space: space || 30,
    };
  }

  function draw(id, options, values, height) {
    const place = document.getElementById(id);
    const size = () => ({ width: Math.max(place.clientWidth, 200), height: height });
    const padding = [null, 30, null, null]; // the last time has room beside the plot
    const plot = new uPlot({ ...size(), padding, ...options }, values, place);
    plots.push({ plot, size });
    return plot;
  }

  const width = (name, w, fill) => ({ stroke: () => colour(name), width: w, fill: fill && (() => fill), points: { show: false } });
  const told = (digits) => (plot, value) => (value === null || value === undefined ? "-" : value.toFixed(digits));
  const labelled = (label, series, digits) => ({ label, value: told(digits), ...series });
  const timeSeries = { label: "time", value: (plot, x) => (x === null || x === undefined ? "-" : clock(x, 1)) };
  const whole = { time: false, range: [offset, offset + data.duration_s] };

  function rates() {
    const { bin_s, low, mean, high } = data.rate;
    const x = mean.map((unused, i) => offset + (i + 0.5) * bin_s);
    draw("rate", {
      scales: { x: whole }, axes: [timeAxis(), valueAxis()], cursor: { drag: { x: false, y: false } },
      series: [timeSeries, labelled("lowest", width("soft", 0.6), 0), labelled("highest", width("soft", 0.6), 0), labelled("mean", width("N", 1.6), 0)],
      bands: [{ series: [2, 1], fill: () => colour("line") }],
    }, [x, low, high, mean], 200);
  }

  function burdens() {
    const { bin_s, percent } = data.burden;
    const names = Object.keys(percent).filter((name) => percent[name].some((value) => value > 0));
    if (!names.length) {
      document.getElementById("burden").textContent = "No beat is S, V or F.";
      return;
    }
    const x = [...percent.V.map((unused, i) => offset + i * bin_s), offset + data.duration_s]; // the last bin ends there
    const most = Math.max(1, ...names.map((name) => Math.max(...percent[name].map((value) => value || 0))));
    draw("burden", {
      scales: { x: whole, y: { range: [0, most * 1.05] } }, axes: [timeAxis(), valueAxis()], cursor: { drag: { x: false, y: false } },
      series: [timeSeries, ...names.map((name) => labelled(name, { ...width(name, 1.6), paths: uPlot.paths.stepped({ align: 1 }) }, 1))],
    }, [x, ...names.map((name) => [...percent[name], percent[name].at(-1)])], 180);
  }

  const envelope = {
    bin: data.envelope.bin_s, step: data.envelope.step_mv,
    low: new Int8Array(bytes(data.envelope.low).buffer), high: new Int8Array(bytes(data.envelope.high).buffer),
  };
  const strips = data.strips.map((strip) => ({ ...strip, values: new Int16Array(bytes(strip.mv).buffer) }));

  /* The points of the view from second `from` to `to`: columns of the envelope, and samples where a strip is held. */
  function view(from, to) {
    const points = [];
    const first = Math.max(Math.floor(from / envelope.bin), 0), last = Math.min(Math.ceil(to / envelope.bin), envelope.low.length);
    const each = Math.max(Math.ceil((last - first) / COLUMNS), 1);
    const held = to - from > HELD_VIEW_S ? [] : strips.filter((strip) => strip.start_s < to && strip.start_s + strip.values.length * strip.step_s > from);
    const inside = (x) => held.some((strip) => x >= strip.start_s && x < strip.start_s + strip.values.length * strip.step_s);
    for (let bin = first; bin < last; bin += each) {
      let low = 128, high = -128;
      for (let one = bin; one < Math.min(bin + each, last); one++) {
        if (envelope.low[one] === -128) continue;
        low = Math.min(low, envelope.low[one]);
        high = Math.max(high, envelope.high[one]);
      }
      const x = (bin + each / 2) * envelope.bin;
      if (!inside(x)) points.push([x, low > high ? null : low * envelope.step, low > high ? null : high * envelope.step]);
    }
    for (const strip of held) strip.values.forEach((value, i) => {
      const mv = value === -32768 ? null : value * strip.step_mv; // no sample
      points.push([strip.start_s + i * strip.step_s, mv, mv]);
    });
    points.sort((a, b) => a[0] - b[0]);
    return [points.map((p) => offset + p[0]), points.map((p) => p[1]), points.map((p) => p[2])];
  }

  /* Episodes as bars along the top, strips as short ones along the bottom. */
  function marks(plot) {
    const { left, top, width: across, height: down } = plot.bbox, context = plot.ctx, thick = 5 * devicePixelRatio;
    const bar = (from, to, y, fill) => {
      const a = plot.valToPos(offset + from, "x", true), b = plot.valToPos(offset + to, "x", true);
      if (b < left || a > left + across) return;
      context.fillStyle = fill;
      context.fillRect(Math.max(a, left), y, Math.max(Math.min(b, left + across) - Math.max(a, left), 2), thick);
    };
    for (const mark of data.marks) bar(mark.from_s, mark.to_s, top, colour(/^[SV] /.test(mark.kind) ? mark.kind[0] : mark.kind === "no beats" ? "warn" : "soft"));
    for (const strip of strips) bar(strip.start_s, strip.start_s + strip.values.length * strip.step_s, top + down - thick, colour("link"));
  }

  let record;
  function show(from, to) {
    const length = Math.min(Math.max(to - from, 2), data.duration_s);
    from = Math.min(Math.max(from, 0), data.duration_s - length);
    whole.shown = [from, from + length];
    record.setData(view(from, from + length), false);
    record.setScale("x", { min: offset + from, max: offset + from + length });
    const names = new Set(data.marks.filter((mark) => mark.from_s < from + length && mark.to_s > from).map((mark) => mark.kind));
    document.getElementById("span").textContent =
      clock(offset + from, 1) + " to " + clock(offset + from + length, 1) + (names.size ? ": " + [...names].join(", ") : "");
  }

  function disclosure() {
    record = draw("whole", {
      scales: { x: { time: false, auto: false }, y: { range: [-127 * envelope.step, 127 * envelope.step] } },
      axes: [timeAxis(), valueAxis(40)], legend: { show: false }, cursor: { drag: { x: true, y: false, setScale: false }, points: { show: false } },
      series: [{}, { ...width("trace", 0.8) }, { ...width("trace", 0.8) }],
      bands: [{ series: [2, 1], fill: () => colour("trace") }],
      hooks: {
        draw: [marks],
        setSelect: [(plot) => {
          if (plot.select.width < 4) return;
          const from = plot.posToVal(plot.select.left, "x") - offset, to = plot.posToVal(plot.select.left + plot.select.width, "x") - offset;
          plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
          show(from, to);
        }],
      },
    }, view(0, data.duration_s), 240);
    show(0, data.duration_s);
    const on = (id, act) => document.getElementById(id).addEventListener("click", act);
    const move = (share) => { const [a, b] = whole.shown; show(a + share * (b - a), b + share * (b - a)); };
    on("out", () => show(0, data.duration_s));
    on("wider", () => { const [a, b] = whole.shown; show(a - (b - a) / 2, b + (b - a) / 2); });
    on("left", () => move(-0.8));
    on("right", () => move(0.8));
    for (const button of document.querySelectorAll("button[data-from]")) {
      button.addEventListener("click", () => {
        show(Number(button.dataset.from) - 3, Number(button.dataset.from) + 10);
        document.getElementById("whole").scrollIntoView({ block: "center" });
      });
    }
  }

  const again = () => plots.forEach(({ plot, size }) => { plot.setSize(size()); plot.redraw(false, true); });
  rates();
  burdens();
  disclosure();
  addEventListener("resize", again);
  for (const [event, open] of [["beforeprint", true], ["afterprint", false]]) {
    addEventListener(event, () => { for (const list of document.querySelectorAll("details")) list.open = open; });
  }
  for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", again);
})();
