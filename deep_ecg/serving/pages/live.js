// A live view: the latest seconds of a trace with the labels of its beats, the state of the signal, alarms.

import { byId, made, socketTo } from "./net.js";
import { CLASSES, clock, cleared, drawGrid, drawLabel, drawTrace } from "./plot.js";

const SHOWN_S = 8;
const MOST_ALARMS = 30;

export class Monitor {
  constructor() { this.running = false; }

  follow(path, watching = false) {
    this.stop();
    Object.assign(this, { running: true, trace: [], beats: [], pushed: 0, fs: null, message: null, ended: false });
    byId("alarms").replaceChildren();
    byId("state").textContent = watching ? "waiting for the program that pushes" : "";
    byId("play").textContent = "Stop";
    const socket = socketTo(path);
    this.socket = socket;
    socket.onmessage = (event) => { if (this.socket === socket) this.take(JSON.parse(event.data)); };
    socket.onclose = () => { if (this.socket === socket) this.left(); };
    this.frame();
  }

  stop() {
    const socket = this.socket;
    this.socket = null;
    this.running = false;
    if (socket) socket.close();
    byId("play").textContent = "Play";
  }

  left() {
    if (!this.ended && this.running) byId("state").textContent += " - the connection has ended";
    this.draw();
    this.stop();
  }

  take(message) {
    if (message.error) { this.ended = true; byId("state").textContent = message.error; return; }
    if (message.fs) { Object.assign(this, { fs: message.fs, trace: [], beats: [], pushed: 0, name: message.name }); return; }
    if (!this.fs) this.fs = 250;
    this.message = message;
    this.pushed = message.samples;
    this.trace.push(...message.trace);
    const most = Math.round(SHOWN_S * this.fs);
    if (this.trace.length > most) this.trace.splice(0, this.trace.length - most);
    this.beats.push(...message.beats);
    this.beats = this.beats.filter((beat) => beat.sample >= this.pushed - most);
    for (const alarm of message.alarms) this.alarm(alarm);
    this.ended = Boolean(message.ended);
  }

  alarm(alarm) {
    byId("alarms").prepend(made("li", { textContent: `${clock(alarm.sample / this.fs)} ${alarm.text}` }));
    while (byId("alarms").children.length > MOST_ALARMS) byId("alarms").lastChild.remove();
  }

  frame() {
    if (!this.running) return;
    this.draw();
    requestAnimationFrame(() => this.frame());
  }

  draw() {
    const message = this.message;
    if (!message || !this.fs) return;
    const counts = CLASSES.map((name) => `${name} ${message.counts[name]}`).join(", ");
    const rate = message.rate_per_min === null ? "--" : message.rate_per_min;
    byId("state").textContent = `${clock(this.pushed / this.fs)}  ${rate}/min  signal: ${message.signal}  ${counts}`
      + (message.unit ? `  (${message.unit})` : "") + (this.ended ? "  ended" : "");
    const view = cleared(byId("monitor"));
    const to = Math.max(this.pushed, Math.round(SHOWN_S * this.fs)), from = to - Math.round(SHOWN_S * this.fs);
    drawGrid(view, this.fs, from, to);
    const { x } = drawTrace(view, this.trace, this.trace, this.pushed - this.trace.length, 1, from, to, 24);
    for (const beat of this.beats) drawLabel(view, x(beat.sample), beat.class, beat.class !== "N");
  }
}
