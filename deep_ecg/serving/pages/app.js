// The page: records, and of one record its report, its review and a live view.

import { ask, byId, made } from "./net.js";
import { CLASSES } from "./plot.js";
import { Monitor } from "./live.js";
import { Review } from "./review.js";

const DOWNLOADS = [["csv", "CSV"], ["json", "JSON"], ["pred", ".pred"], ["rev", ".rev"], ["events", "episodes"], ["html", "report"], ["log", "log"]];
const LOOK_MS = 1500;
const review = new Review(showCounts);
const monitor = new Monitor();
let shown = null; // the record that is looked at
let looking = 0;
let loading = null; // the review that is being loaded

function tell(text, bad = false) {
  byId("told").textContent = text;
  byId("told").className = bad ? "bad" : "";
}

async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    tell(error.message, true);
    return null;
  }
}

// Records ------------------------------------------------------------------------------------------------------------

async function upload(files) {
  if (!files.length) return;
  const form = new FormData();
  for (const file of files) form.append("files", file, file.webkitRelativePath || file.name);
  for (const name of ["lead", "fs", "units"]) form.append(name, byId(name).value);
  tell(`Sending ${files.length === 1 ? files[0].name : `${files.length} files`} ...`);
  await open(await attempt(() => ask("/records", { method: "POST", body: form })));
}

async function open(answer) {
  if (!answer) return;
  tell("");
  if (answer.records.length === 1) location.hash = answer.records[0];
  await listRecords();
}

async function listRecords() {
  clearTimeout(looking);
  const answer = await attempt(() => ask("/records"));
  if (!answer) return;
  byId("records").replaceChildren(...answer.records.map(recordLine));
  if (shown && shown.state === "waiting") await showRecord();
  if (answer.records.some((one) => one.state === "waiting")) looking = setTimeout(listRecords, LOOK_MS);
}

function recordLine(one) {
  const told = { waiting: "being labelled ...", failed: one.error, labelled: one.lead }[one.state];
  const name = made("button", { className: "name", textContent: one.title, onclick: () => { location.hash = one.id; } });
  name.disabled = one.state !== "labelled";
  const remove = made("button", { textContent: "Remove", onclick: () => removeRecord(one) });
  return made("li", {}, name, made("span", { textContent: told, className: one.state === "failed" ? "bad" : "" }), remove);
}

async function removeRecord(one) {
  if (!confirm(`Remove ${one.title} and all changes of its labels?`)) return;
  await attempt(() => ask(`/records/${one.id}`, { method: "DELETE" }));
  await listRecords();
}

// One record ---------------------------------------------------------------------------------------------------------

async function showRecord() {
  const id = location.hash.slice(1);
  monitor.stop();
  byId("home").hidden = Boolean(id);
  byId("record").hidden = !id;
  if (!id) { shown = null; return; }
  shown = await attempt(() => ask(`/records/${encodeURIComponent(id)}`));
  if (!shown) { location.hash = ""; return; }
  byId("title").textContent = shown.title + (shown.synthetic && !shown.title.startsWith("SYNTHETIC") ? " (SYNTHETIC)" : "");
  const ready = shown.state === "labelled";
  byId("tabs").hidden = byId("downloads").hidden = true; // until there is something in them
  for (const tab of document.querySelectorAll(".tab")) tab.hidden = true;
  byId("counts").textContent = ready ? "" : shown.error || "being labelled ...";
  byId("counts").className = shown.error ? "bad" : "";
  if (!ready) { if (!shown.error) looking = setTimeout(listRecords, LOOK_MS); return; }
  showDownloads();
  if (review.id !== id) loading = review.load(shown);
  await attempt(() => loading);
  if (review.id !== id || !review.told) { review.id = null; return; }
  byId("tabs").hidden = byId("downloads").hidden = false;
  showTab("report");
}

function showDownloads() {
  byId("downloads").replaceChildren(...DOWNLOADS.map(([kind, name]) =>
    made("a", { href: `/records/${shown.id}/files/${kind}`, textContent: name, download: "" })));
}

function showCounts(told) {
  const { counts, trust } = told.summary;
  const parts = CLASSES.map((name) => made("b", { className: name, textContent: ` ${name} ${counts[name]}` }));
  byId("counts").replaceChildren(`${told.summary.beats} beats, lead ${told.summary.lead}:`, ...parts, ` - trust: ${trust.grade}`);
  const reviewed = told.can_undo;
  for (const link of byId("downloads").children) {
    if (/\/(rev|log)$/.test(link.href)) link.hidden = link.href.endsWith("rev") ? !reviewed : !told.version;
  }
}

function showTab(name) {
  for (const tab of document.querySelectorAll(".tab")) tab.hidden = tab.id !== name;
  for (const button of byId("tabs").children) button.setAttribute("aria-selected", button.dataset.tab === name);
  if (name === "report") byId("page").src = `/records/${shown.id}/report?changes=${review.told.version}`;
  if (name === "review") review.draw();
  if (name !== "live") monitor.stop();
}

// What may be done ---------------------------------------------------------------------------------------------------

const drop = byId("drop");
for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
drop.addEventListener("drop", (event) => upload([...event.dataTransfer.files]));
drop.addEventListener("keydown", (event) => { if (event.key === "Enter" && event.target === drop) byId("files").click(); });
byId("choose").onclick = () => byId("files").click();
byId("files").onchange = (event) => { upload([...event.target.files]).then(() => { event.target.value = ""; }); };
byId("back").onclick = () => { location.hash = ""; };
for (const button of byId("tabs").children) button.onclick = () => showTab(button.dataset.tab);
for (const name of CLASSES) {
  byId("examples").append(made("button", {
    textContent: name, className: name,
    onclick: async () => open(await attempt(() => ask(`/examples/${name}`, { method: "POST" }))),
  }));
}
const feed = [...crypto.getRandomValues(new Uint8Array(16))].map((one) => one.toString(16).padStart(2, "0")).join("");
byId("feed-address").textContent = `${location.origin.replace("http", "ws")}/live?fs=250&unit=mV&feed=${feed}`;
byId("watch").onclick = () => {
  byId("home").hidden = true;
  byId("record").hidden = byId("live").hidden = false;
  byId("title").textContent = "Live";
  for (const id of ["report", "review", "tabs", "downloads"]) byId(id).hidden = true;
  byId("counts").textContent = "";
  shown = null;
  monitor.follow(`/watch?feed=${feed}`, true);
};
byId("play").onclick = () => {
  if (monitor.running || !shown) monitor.stop();
  else monitor.follow(`/records/${shown.id}/replay?speed=${byId("speed").value}&first=${review.from}`);
};
window.addEventListener("hashchange", () => { tell(""); showRecord().then(() => { if (!location.hash) listRecords(); }); });
window.addEventListener("resize", () => { if (shown && !byId("review").hidden) review.draw(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (shown && !byId("review").hidden) review.draw(); });
showRecord().then(listRecords);
