// Review of a record: shapes and single beats get other labels; counts, episodes and files follow.

import { ask, byId, made, post } from "./net.js";
import { CLASSES, cleared, clock, drawGrid, drawLabel, drawTrace } from "./plot.js";

const STRIP_S = [2, 5, 10, 30, 60, 300];
const NEAR_PX = 24;
const NAME = "deep-ecg-name";

export class Review {
  constructor(tellCounts) {
    this.tellCounts = tellCounts;
    this.channel = "BroadcastChannel" in window ? new BroadcastChannel("deep-ecg-review") : null;
    if (this.channel) this.channel.onmessage = (event) => { if (event.data === this.id) this.reload("changed in another tab"); };
    byId("by").value = localStorage.getItem(NAME) || "";
    byId("by").onchange = (event) => localStorage.setItem(NAME, event.target.value);
    byId("undo").onclick = () => this.change({ undo: true });
    byId("earlier").onclick = () => this.move(-0.8);
    byId("later").onclick = () => this.move(0.8);
    byId("in").onclick = () => this.zoom(-1);
    byId("out").onclick = () => this.zoom(1);
    byId("overview").onclick = (event) => this.goto((event.offsetX / event.target.clientWidth) * this.record.length);
    byId("strip").onclick = (event) => this.choose(event);
    byId("strip").onkeydown = (event) => this.key(event);
    byId("beat-to").append(...CLASSES.map((name) =>
      made("button", { textContent: name, className: name, onclick: () => this.label(name) })));
    this.from = 0;
  }

  async load(record) {
    Object.assign(this, { record, id: record.id, from: 0, length: 2, chosen: null, drawn: 0, beats: null, told: null });
    this.envelope = await ask(`/records/${record.id}/trace?first=0&last=${record.length}&points=1500`);
    await this.reload("");
  }

  async reload(why) {
    const id = this.id;
    const [told, beats] = await Promise.all([ask(`/records/${id}/review`), ask(`/records/${id}/beats`)]);
    if (id !== this.id) return;
    this.beats = beats;
    this.show(told, why);
  }

  show(told, why = "") {
    this.told = told;
    this.tellCounts(told);
    byId("undo").disabled = !told.can_undo;
    byId("changed").className = "";
    byId("changed").textContent = why || (told.changed ? `${told.changed} beats changed, saved` : "nothing changed yet");
    byId("shapes").replaceChildren(...told.shapes.filter((one) => one.beats).map((one) => this.shapeLine(one)));
    byId("episodes").replaceChildren(...told.episodes.map((one) => this.episodeLine(one)));
    byId("log").replaceChildren(...[...told.log].reverse().map((one) => made("li", { textContent: inWords(one) })));
    if (!byId("review").hidden) this.draw();
  }

  shapeLine(one) {
    const canvas = made("canvas");
    const mean = one.mean_mv.map((value) => value * 1000);
    requestAnimationFrame(() => { if (canvas.clientWidth) drawTrace(cleared(canvas), mean, mean, 0, 1, 0, mean.length || 1); });
    canvas.className = "shape";
    this.means = this.means || new Map();
    this.means.set(canvas, mean);
    const counts = Object.entries(one.counts).map(([name, count]) => made("b", { className: name, textContent: ` ${name} ${count}` }));
    const select = made("select", { ariaLabel: "Label of this shape" }, made("option", { textContent: "label as" }), ...CLASSES.map((name) => made("option", { textContent: name })));
    select.onchange = () => { if (CLASSES.includes(select.value)) this.change({ shape: one.shape, to: select.value }); };
    const look = made("button", { textContent: "Look", onclick: () => this.goto(one.first) });
    return made("li", {}, one.shape < 0 ? "rare shapes" : canvas, made("span", {}, `${one.beats} beats:`, ...counts), select, look);
  }

  episodeLine(one) {
    const rate = one.rate_per_min ? `, ${Math.round(one.rate_per_min)}/min` : "";
    const beats = one.beats ? `, ${one.beats} beats` : "";
    const look = made("button", { textContent: clock(one.start_s), onclick: () => this.goto(one.start_sample) });
    return made("li", {}, look, `${one.kind}${beats}${rate}${one.why ? `, ${one.why}` : ""}`);
  }

  async change(what) {
    try {
      const told = await post(`/records/${this.id}/review`, { version: this.told.version, by: byId("by").value, ...what });
      if (this.channel) this.channel.postMessage(this.id);
      this.beats = await ask(`/records/${this.id}/beats`);
      this.show(told);
    } catch (error) {
      if (error.status === 409) await this.reload("");
      byId("changed").className = "bad";
      byId("changed").textContent = `not changed: ${error.message}`;
    }
  }

  // The strip ----------------------------------------------------------------------------------------------------------

  get span() { return Math.max(Math.round(STRIP_S[this.length] * this.record.fs_hz), 2); }

  goto(sample) { this.from = Math.round(sample - this.span / 3); this.draw(); }
  move(part) { this.from += Math.round(part * this.span); this.draw(); }

  zoom(by) {
    const middle = this.from + this.span / 2;
    this.length = Math.min(Math.max(this.length + by, 0), STRIP_S.length - 1);
    this.from = Math.round(middle - this.span / 2);
    this.draw();
  }

  async draw() {
    if (!this.record || !this.beats) return;
    this.from = Math.max(Math.min(this.from, this.record.length - this.span), 0);
    const drawing = ++this.drawn, from = this.from, to = from + this.span;
    const points = Math.max(byId("strip").clientWidth, 300) * 2;
    let part;
    try {
      part = await ask(`/records/${this.id}/trace?first=${from}&last=${to}&points=${points}`);
    } catch (error) {
      byId("place").textContent = `not drawn: ${error.message}`;
      return;
    }
    if (drawing !== this.drawn) return;
    const view = cleared(byId("strip"));
    drawGrid(view, this.record.fs_hz, from, to);
    const { x } = drawTrace(view, part.low, part.high, part.first, part.step, from, to, 26);
    for (let beat = firstAt(this.beats.samples, from); this.beats.samples[beat] < to; beat++) {
      const name = this.beats.classes[beat];
      if (this.span < 90 * this.record.fs_hz || name !== "N") drawLabel(view, x(this.beats.samples[beat]), name, beat === this.chosen);
    }
    this.drawOverview(to);
    for (const [canvas, mean] of this.means || []) {
      if (canvas.isConnected && canvas.clientWidth) drawTrace(cleared(canvas), mean, mean, 0, 1, 0, mean.length || 1);
      else if (!canvas.isConnected) this.means.delete(canvas);
    }
    byId("place").textContent = `${clock(from / this.record.fs_hz)} - ${clock(to / this.record.fs_hz)}`;
    byId("beat").hidden = this.chosen === null;
    if (this.chosen !== null) byId("beat-told").textContent = this.inWords(this.chosen);
  }

  drawOverview(to) {
    const view = cleared(byId("overview"));
    const { x } = drawTrace(view, this.envelope.low, this.envelope.high, 0, this.envelope.step, 0, this.record.length);
    view.context.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent");
    view.context.lineWidth = 2;
    view.context.strokeRect(x(this.from), 1, Math.max(x(to) - x(this.from), 3), view.height - 2);
  }

  inWords(beat) {
    const name = this.beats.classes[beat], before = this.beats.before[beat];
    return `${name}${name === before ? ` (${this.beats.percent[beat]} % sure)` : `, was ${before}`} at ${clock(this.beats.samples[beat] / this.record.fs_hz)}`;
  }

  choose(event) {
    const sample = this.from + (event.offsetX / event.target.clientWidth) * this.span;
    const near = (NEAR_PX / event.target.clientWidth) * this.span;
    const at = firstAt(this.beats.samples, sample);
    const found = [at - 1, at].filter((beat) => Math.abs(this.beats.samples[beat] - sample) < near);
    found.sort((one, other) => Math.abs(this.beats.samples[one] - sample) - Math.abs(this.beats.samples[other] - sample));
    this.chosen = found.length ? found[0] : null;
    this.draw();
  }

  key(event) {
    const name = event.key.toUpperCase();
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (CLASSES.includes(name)) this.label(name);
    else if (event.key === "ArrowLeft" || event.key === "ArrowRight") this.step(event.key === "ArrowLeft" ? -1 : 1);
    else return;
    event.preventDefault();
  }

  step(by) {
    const beat = this.chosen === null ? firstAt(this.beats.samples, this.from) : this.chosen + by;
    if (beat < 0 || beat >= this.beats.samples.length) return;
    this.chosen = beat;
    const sample = this.beats.samples[beat];
    if (sample < this.from || sample >= this.from + this.span) this.goto(sample); else this.draw();
  }

  label(name) {
    if (this.chosen !== null) this.change({ sample: this.beats.samples[this.chosen], to: name });
  }
}

// The number of the first of the rising `samples` that is not before `sample`.
function firstAt(samples, sample) {
  let low = 0, high = samples.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (samples[middle] < sample) low = middle + 1; else high = middle;
  }
  return low;
}

function inWords(one) {
  const who = `${one.at.replace("T", " ").slice(0, 16)} ${one.by}: `;
  if ("undo" in one) return `${who}took back change ${one.undo + 1}`;
  const from = Object.entries(one.from).map(([name, count]) => `${count} ${name}`).join(", ");
  return `${who}${"shape" in one ? "a shape" : `beat at sample ${one.sample}`}, ${from} to ${one.to}`;
}
