"use strict";
// Draws /v1/state once a second. Text goes in by textContent only: topic names
// are chosen by strangers.

const $ = (id) => document.getElementById(id);
let state = null;
let lastGood = 0;

function el(tag, cls, text) {
  const e = document.createElement(tag);
  if (cls) e.className = cls;
  if (text !== undefined) e.textContent = text;
  return e;
}

function since(t) {
  if (!t) return "";
  const s = Math.max(0, Math.round((new Date(state.at) - new Date(t)) / 1000));
  const ago = s < 90 ? s + " s" : s < 5400 ? Math.round(s / 60) + " min" : s < 172800 ? Math.round(s / 3600) + " h" : Math.round(s / 86400) + " days";
  return "since " + new Date(t).toLocaleTimeString() + " (" + ago + ")";
}

const words = (code) => code.toLowerCase().replaceAll("_", " ");
const count = (n, one, many) => n + " " + (n === 1 ? one : many);

function drawVerdict() {
  const s = state.summary, box = $("verdict"), lines = [];
  for (const b of state.brokers) {
    if (b.state !== "running") lines.push("Broker " + b.id + " (rack " + (b.rack || "none") + ") is " + (b.state === "fenced" ? "missing: fenced" : b.state) + " " + since(b.since));
  }
  if (s.offline) lines.push(count(s.offline, "partition has", "partitions have") + " no leader: no reads and no writes there");
  if (s.underMinIsr) lines.push(count(s.underMinIsr, "partition is", "partitions are") + " under min.insync.replicas: acks=all is refused there");
  if (s.underReplicated) lines.push(count(s.underReplicated, "partition has", "partitions have") + " lost a replica from the in-sync set");
  if (s.atMinIsr && s.underReplicated) lines.push(count(s.atMinIsr, "partition", "partitions") + " can't lose one more in-sync replica and still take acks=all");
  if (state.controller.leader < 0) lines.push("no active controller is known: leaders can't change and topics can't be created");
  const bad = s.offline || s.underMinIsr || state.controller.leader < 0;
  box.className = "verdict" + (bad ? " bad" : lines.length ? " warn" : "");
  box.replaceChildren(el("h2", "", lines.length ? (bad ? "Something is down" : "Working, with less protection") : "Every replica of every partition is in sync"));
  if (lines.length) { const ul = el("ul"); lines.forEach((l) => ul.append(el("li", "", l))); box.append(ul); }
}

function drawRacks() {
  const racks = new Map();
  for (const b of state.brokers) { if (!racks.has(b.rack)) racks.set(b.rack, []); racks.get(b.rack).push(b); }
  const out = [];
  for (const [rack, brokers] of [...racks].sort()) {
    const r = el("div", "rack");
    r.append(el("h3", "", rack ? "rack " + rack : "no rack"));
    for (const b of brokers) {
      const d = el("div", "broker" + (b.state === "running" ? (b.outOfSync ? " warn" : "") : " bad"));
      const roles = b.id === state.controller.leader ? ", active controller" : state.controller.voters?.includes(b.id) ? ", controller" : "";
      d.append(el("b", "", "broker " + b.id + roles));
      d.append(el("span", "state", b.state === "fenced" ? "missing (fenced) " + since(b.since) : b.state === "running" ? "running" : b.state + " " + since(b.since)));
      d.append(el("span", "", "leads " + b.leaders + " of its " + count(b.replicas, "replica", "replicas") + (b.outOfSync ? ", " + b.outOfSync + " out of sync" : "")));
      d.append(el("span", "", (b.endpoints || []).join(" ")));
      r.append(d);
    }
    out.push(r);
  }
  $("racks").replaceChildren(...out);
}

function drawFollowers(td, p) {
  if (!p.known) { td.append(el("span", "why", p.leader < 0 ? "no leader to ask" : "the leader did not answer")); return; }
  for (const f of p.followers || []) {
    const lag = f.lag < 0 ? "no fetch yet" : f.lag.toLocaleString();
    const d = el("span", "lag" + (f.inSync ? "" : " bad"), f.broker + ": " + lag);
    d.title = "log end " + f.logEnd + ", last fetch " + f.fetchAgeMs + " ms ago, caught up " + f.caughtUpAgeMs + " ms ago" + (f.reasons ? ", " + f.reasons.join(" ") : "") + (f.detail ? ", " + f.detail : "");
    td.append(d);
    if (f.state !== "in-sync") td.append(el("div", "why", f.broker + " is " + f.state + (f.reasons ? ": " + f.reasons.map(words).join(", ") : f.reason ? ": " + words(f.reason) : "") + (f.detail ? " (" + f.detail + ")" : "") + (f.secondsToCatchUp > 0 ? ", about " + Math.ceil(f.secondsToCatchUp) + " s left" : "")));
  }
}

function drawPartitions() {
  const form = $("filter"), want = form.topic.value.trim().toLowerCase(), rows = [];
  let shown = 0;
  const list = state.partitions.filter((p) => (form.internal.checked || !p.topic.startsWith("__")) && (!form.sick.checked || p.underReplicated) && p.topic.toLowerCase().includes(want));
  for (const p of list.slice(0, 500)) {
    shown++;
    const tr = el("tr", p.leader < 0 || p.isr.length < p.minIsr ? "bad" : p.underReplicated ? "warn" : "");
    tr.append(el("td", "", p.topic + "-" + p.partition));
    tr.append(el("td", "", p.leader < 0 ? "none" : p.leader));
    const reps = el("td");
    for (const r of p.replicas) {
      const inSync = p.isr.includes(r);
      const e = el("span", "rep" + (r === p.leader ? " leader" : inSync ? "" : " out"), r);
      e.title = r === p.leader ? "leader" : inSync ? "in sync" : "not in sync";
      reps.append(e);
    }
    tr.append(reps);
    tr.append(el("td", "num", p.known ? p.highWatermark.toLocaleString() : ""));
    tr.append(el("td", "num", p.known ? p.logEnd.toLocaleString() : ""));
    const fol = el("td"); drawFollowers(fol, p); tr.append(fol);
    const st = el("td");
    st.append(el("div", "", p.leader < 0 ? "offline" : p.underReplicated ? "lost " + (p.missing || []).join(", ") : "in sync"));
    if (p.since) st.append(el("div", "why", since(p.since)));
    if (p.reason) st.append(el("div", "why", p.reason));
    tr.append(st);
    rows.push(tr);
  }
  $("partitions").tBodies[0].replaceChildren(...rows);
  $("shown").textContent = shown + " of " + state.partitions.length + " shown";
}

function drawEvents() {
  $("events").replaceChildren(...(state.events || []).filter((e) => $("filter").internal.checked || !e.where.startsWith("__")).slice(0, 60).map((e) => {
    const li = el("li"); const t = el("time", "", new Date(e.at).toLocaleTimeString());
    li.append(t, el("b", "", e.where + " "), el("span", "", e.text));
    return li;
  }));
}

function draw() {
  if (!state) return;
  $("where").textContent = "cluster " + state.node.clusterId + ", seen by node " + state.node.id + ", " + count(state.summary.topics, "topic", "topics") + ", " + count(state.summary.partitions, "partition", "partitions");
  drawVerdict(); drawRacks(); drawPartitions(); drawEvents();
}

async function poll() {
  try {
    const r = await fetch("v1/state", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!r.ok) throw new Error("HTTP " + r.status);
    state = await r.json();
    lastGood = Date.now();
    $("stale").hidden = true;
    draw();
  } catch (e) {
    $("stale").hidden = false;
    $("stale").textContent = lastGood ? "this node has not answered since " + new Date(lastGood).toLocaleTimeString() + "; what you see is old" : "this node does not answer: " + e.message;
  }
  setTimeout(poll, 1000);
}

$("filter").addEventListener("input", draw);
$("filter").addEventListener("submit", (e) => e.preventDefault());
poll();
