// Traces on a canvas: lowest and highest value of each point, labels above beats.

export const CLASSES = ["N", "S", "V", "F", "Q"];

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// The drawing context of a canvas, cleared, in CSS pixels, and its size in these.
export function cleared(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.fillStyle = colour("paper");
  context.fillRect(0, 0, width, height);
  return { context, width, height };
}

// The range of the values of `lists`, null where there are none; a little wider than these.
export function range(...lists) {
  let low = Infinity, high = -Infinity;
  for (const values of lists) {
    for (const value of values) {
      if (value !== null) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
  }
  if (low > high) return { low: -1, high: 1 };
  const margin = Math.max((high - low) * 0.08, 1);
  return { low: low - margin, high: high + margin };
}

// Draws points `first`, `first + step` ... of a signal of which the canvas shows the samples `from` to `to`.
export function drawTrace(view, low, high, first, step, from, to, top = 0) {
  const { context, width, height } = view;
  const span = range(low, high);
  const x = (sample) => ((sample - from) / (to - from)) * width;
  const y = (value) => top + (1 - (value - span.low) / (span.high - span.low)) * (height - top);
  context.strokeStyle = colour("trace");
  context.lineWidth = 1.2;
  context.beginPath();
  let down = false;
  for (let point = 0; point < low.length; point++) {
    if (low[point] === null) { down = false; continue; }
    const at = x(first + (point + 0.5) * step);
    if (down) context.lineTo(at, y(high[point])); else context.moveTo(at, y(high[point]));
    if (low[point] !== high[point]) context.lineTo(at, y(low[point]));
    down = true;
  }
  context.stroke();
  return { x, y };
}

// Vertical lines every so many seconds.
export function drawGrid(view, fs, from, to) {
  const { context, width, height } = view;
  const seconds = (to - from) / fs;
  const every = [0.2, 1, 5, 10, 60, 300, 600, 3600, 14400].find((one) => seconds / one <= 60) || 86400;
  context.strokeStyle = colour("grid");
  context.lineWidth = 1;
  context.beginPath();
  for (let at = Math.ceil(from / fs / every) * every; at <= to / fs; at += every) {
    const x = Math.round(((at * fs - from) / (to - from)) * width) + 0.5;
    context.moveTo(x, 0);
    context.lineTo(x, height);
  }
  context.stroke();
}

export function drawLabel(view, x, name, marked) {
  const { context } = view;
  context.fillStyle = colour(name);
  context.textAlign = "center";
  context.textBaseline = "top";
  context.font = `${marked ? "bold " : ""}14px system-ui, sans-serif`;
  context.fillText(name, x, 3);
  if (marked) context.fillRect(x - 7, 20, 14, 2);
}

export function clock(seconds) {
  const whole = Math.max(Math.floor(seconds), 0);
  const part = (value) => String(value).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${part(Math.floor(whole / 60) % 60)}:${part(whole % 60)}`;
}
