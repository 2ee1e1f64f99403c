// The status page: totals, charts and tables from one event stream.

import { byId, element } from "../dom.js";
import { Chart, SECONDS } from "./charts.js";
import { ago, bytes, rate, share, span, whole } from "./format.js";
import { Table } from "./table.js";

const EVENTS = "/api/engine/status/events";
const ROW_S = 2; // seconds in a row of the history
const RETRY_MS = 3000;

const history = new Map();
let you = null;

const charts = [
  new Chart("Tokens per second", (row) => row.tokens_per_second, rate),
  new Chart("Chats running", (row) => row.running, whole),
  new Chart("Chats waiting", (row) => row.waiting, whole),
  new Chart("First token after", (row) => row.ttft_ms, span),
];
byId("charts").append(...charts.map((chart) => chart.element));

const model = { title: "Model", cell: (job) => job.model };
// Shown where there are API keys: without them all is everyone's.
const owner = { title: "Owner", cell: (job) => job.owner ?? "–", kind: "owner" };
const tables = {
  running: new Table(byId("running"), [
    model,
    owner,
    { title: "Job", cell: (job, held) => held ?? jobName(job), side: true },
    { title: "Tokens", cell: (job) => whole(job.tokens), number: true },
    { title: "Tokens/s", cell: (job) => (job.tokens > 1 ? rate(job.tokens_per_second) : "–"),
      number: true },
    { title: "First token", cell: (job) => (job.ttft_ms ? span(job.ttft_ms) : "–"), number: true,
      side: true },
    { title: "Running for", cell: (job) => span(job.elapsed_ms), number: true },
    { title: "", cell: (job, held) => held ?? stopButton(job), number: true },
  ], "Nothing is running.", (job) => job.job_id),
  batches: new Table(byId("batches"), [
    { title: "Batch",
      cell: (batch, held) => held ?? element("span", { class: "mono" }, batch.id.slice(0, 8)) },
    { title: "Model", cell: (batch) => batch.model || "several", side: true },
    owner,
    { title: "State", cell: (batch) => batch.status },
    { title: "Progress", cell: progress },
    { title: "Done", cell: (batch) => `${whole(batch.done)} of ${whole(batch.total)}`,
      number: true },
    { title: "Failed", cell: (batch) => whole(batch.failed), number: true },
  ], "No batches.", (batch) => batch.id),
  recent: new Table(byId("recent"), [
    { title: "Ended", cell: (job) => ago(job.ago_ms) },
    model,
    owner,
    { title: "Result", cell: reason },
    { title: "Prompt", cell: (job) => prompt(job), number: true, side: true },
    { title: "Tokens", cell: (job) => whole(job.completion_tokens), number: true },
    { title: "Tokens/s", cell: (job) => (job.tokens_per_second ? rate(job.tokens_per_second) : "–"),
      number: true },
    { title: "First token", cell: (job) => (job.ttft_ms ? span(job.ttft_ms) : "–"), number: true },
    { title: "Queued", cell: (job) => span(job.queue_ms), number: true },
  ], "Nothing has ended yet.", (job) => `${job.job_id} ${job.ended_ms}`),
  downloads: new Table(byId("downloads"), [
    { title: "Model", cell: (one) => one.repository ?? one.name },
    { title: "Progress", cell: downloaded },
    { title: "Speed", cell: (one) => (one.download_speed === null ? "–"
      : `${bytes(one.download_speed)}/s`), number: true },
    { title: "Time left", cell: (one) => (one.download_eta === null ? "–"
      : span(one.download_eta * 1000)), number: true },
    { title: "Size", cell: (one) => bytes(one.size), number: true, side: true },
  ], "No downloads.", (one) => one.id),
  models: new Table(byId("models"), [
    { title: "Model", cell: (one) => one.name },
    { title: "Cache",
      cell: (one) => (one.kv_quantization ? `${one.kv_quantization} bits` : "full") },
    { title: "Weights", cell: (one) => bytes(one.bytes), number: true },
  ], "No model is loaded.", (one) => `${one.worker} ${one.id}`),
  workers: new Table(byId("workers"), [
    { title: "Worker", cell: (one) => one.host },
    { title: "Heartbeat", cell: heartbeat },
    { title: "Running", cell: (one) => `${one.running_total} of ${one.slots}`, number: true },
    { title: "Prompt cache", cell: (one) => bytes(one.prompt_cache.bytes), number: true },
    { title: "Hits", cell: (one) =>
      share(one.prompt_cache.cached_tokens, one.prompt_cache.prompt_tokens), number: true },
    { title: "Memory used", cell: (one) => `${Math.round(one.memory.percent)} %`, number: true },
    { title: "Restarts", cell: (one) => whole(one.restarts), number: true, side: true },
  ], "No worker is running.", (one) => one.name),
};

function jobName(job) {
  return element("span", { class: "mono", title: job.job_id }, job.job_id.slice(0, 8));
}

function prompt(job) {
  return job.cached_tokens
    ? `${whole(job.prompt_tokens)} (${share(job.cached_tokens, job.prompt_tokens)} cached)`
    : whole(job.prompt_tokens);
}

function reason(job, held) {
  if (held) return held;
  const kind = { error: "chip bad", cancelled: "chip plain" }[job.finish_reason] ?? "chip";
  return element("span", { class: kind }, job.code ?? job.finish_reason);
}

function progress(batch, held) {
  const bar = held ?? element("progress", { "aria-label": `Batch ${batch.id.slice(0, 8)}` });
  bar.max = Math.max(1, batch.total);
  bar.value = batch.done + batch.failed;
  return bar;
}

/** A bar while a download runs; the reason once it has ended early. */
function downloaded(one, held) {
  if (!one.downloading) return one.download_error ?? "interrupted";
  const bar = held?.localName === "progress" ? held
    : element("progress", { max: 100, "aria-label": `Download of ${one.name}` });
  bar.value = one.download_progress;
  bar.title = `${Math.floor(one.download_progress)} %`;
  return bar;
}

function heartbeat(worker) {
  return worker.draining ? "draining" : `${(worker.heartbeat_age_ms / 1000).toFixed(1)} s ago`;
}

function stopButton(job) {
  if (you !== job.owner) return "";
  const label = `Stop job ${job.job_id.slice(0, 8)}`;
  const button = element("button",
    { type: "button", class: "button danger stop", "aria-label": label }, "Stop");
  button.addEventListener("click", () => stop(job.job_id, button));
  return button;
}

async function stop(jobId, button) {
  button.disabled = true;
  button.textContent = "Stopping…";
  const request = { method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ job_id: jobId }) };
  const answer = await fetch("/api/engine/chat/stop", request).catch(() => null);
  if (answer?.ok) return;
  button.disabled = false;
  button.textContent = "Stop";
  trouble("The chat could not be stopped. Try again.");
}

function connection(state, text) {
  const line = byId("connection");
  line.dataset.state = state;
  if (line.textContent !== text) line.textContent = text;
}

function trouble(text) {
  const notice = byId("trouble");
  notice.hidden = !text;
  if (notice.textContent !== text) notice.textContent = text;
}

function showSums(status, rows) {
  const slots = status.workers.reduce((sum, worker) => sum + worker.slots, 0);
  const cache = status.workers.map((worker) => worker.prompt_cache);
  const promptTokens = cache.reduce((sum, one) => sum + one.prompt_tokens, 0);
  const cachedTokens = cache.reduce((sum, one) => sum + one.cached_tokens, 0);
  const waiting = Object.entries(status.queues);
  const ended = Object.entries(status.ended);
  const failed = ended.filter(([how]) => how.startsWith("error"))
    .reduce((sum, [, count]) => sum + count, 0);
  sum("Running", whole(status.running_total), `of ${whole(slots)} slots`);
  for (const [name, depth] of waiting) {
    sum(name === "chat" ? "Waiting" : `In ${name} queue`, whole(depth),
      name === "chat" ? waitingNote(status) : "jobs");
  }
  sum("Tokens per second", rows.length ? rate(rows.at(-1).tokens_per_second) : "–");
  sum("Prompt cache hits", share(cachedTokens, promptTokens),
    promptTokens ? "of prompt tokens" : "");
  const weights = status.models.reduce((all, one) => all + one.bytes, 0);
  sum("Model memory", bytes(weights), free(status.memory));
  sum("Ended", whole(ended.reduce((all, [, count]) => all + count, 0)), `${whole(failed)} failed`);
}

/** How many chats may wait, and those that do by class of service. */
function waitingNote({ queue_limit: limit, waiting_by_tier: counts = {} }) {
  const some = Object.entries(counts).filter(([, count]) => count > 0);
  const tiers = some.map(([tier, count]) => `${whole(count)} ${tier}`).join(", ");
  return `of ${whole(limit)}${tiers && ` · ${tiers}`}`;
}

/** The memory that is left, on the machine that has least of it. */
function free(machines) {
  return machines.length
    ? `${bytes(Math.min(...machines.map((one) => one.available_bytes)))} free` : "";
}

const sums = new Map();

function sum(title, value, note = "") {
  if (!sums.has(title)) {
    const shown = { value: element("span"), note: element("small") };
    sums.set(title, shown);
    byId("sums").append(element("div", {}, element("dt", {}, title),
      element("dd", {}, shown.value, " ", shown.note)));
  }
  const shown = sums.get(title);
  if (shown.value.textContent !== value) shown.value.textContent = value;
  if (shown.note.textContent !== note) shown.note.textContent = note;
}

function show(status) {
  const now = status.now_ms / 1000;
  for (const row of status.tail) history.set(row.at, row);
  for (const at of history.keys()) if (at < now - SECONDS) history.delete(at);
  // The newest row is still being filled.
  const rows = [...history.values()].filter((row) => row.at + ROW_S <= now)
    .sort((a, b) => a.at - b.at);
  for (const chart of charts) chart.draw(rows, now);
  showSums(status, rows);
  document.querySelector("main").toggleAttribute("data-owners", you !== "everyone");
  tables.running.show(status.running);
  byId("batches-section").hidden = status.batches.length === 0;
  tables.batches.show(status.batches);
  tables.recent.show(
    status.recent.map((job) => ({ ...job, ago_ms: Math.max(0, status.now_ms - job.ended_ms) })));
  byId("downloads-section").hidden = status.downloads.length === 0;
  tables.downloads.show(status.downloads);
  tables.models.show(status.models);
  tables.workers.show(status.workers);
  const more = status.running_total - status.running.length;
  trouble(blocked(status)
    || (more > 0 ? `${whole(more)} more chats are running than are listed.` : ""));
  connection("live", "Live");
}

/** Why no chat makes progress, in a sentence; empty if nothing is wrong. */
function blocked(status) {
  if (status.suspended)
    return "The queues are suspended: chats wait until they are resumed (rq resume).";
  const silent = status.silent_workers.length;
  if (silent > 0) {
    const workers = silent === 1 ? "A worker is" : `${silent} workers are`;
    return `${workers} not responding: ${status.silent_workers.join(", ")}.`;
  }
  return status.workers.length === 0 ? "No worker is running: chats wait until one is." : "";
}

function listen() {
  const source = new EventSource(EVENTS);
  source.addEventListener("history", (event) => {
    history.clear();
    for (const row of JSON.parse(event.data)) history.set(row.at, row);
  });
  source.addEventListener("status", (event) => show(JSON.parse(event.data)));
  source.addEventListener("away",
    () => connection("lost", "The queue's storage is not responding. Trying again…"));
  source.addEventListener("error", () => {
    connection("lost", "Connection lost. Trying again…");
    if (source.readyState !== EventSource.CLOSED) return; // it comes back by itself
    source.close();
    setTimeout(begin, RETRY_MS);
  });
}

/** Ask for the caller's name, which the stop buttons need, then listen. */
async function begin() {
  const answer = await fetch("/api/engine/status").catch(() => null);
  if (answer?.status === 401) {
    connection("lost", "Signed out.");
    trouble("Reload this page to sign in again.");
    return;
  }
  if (answer?.ok) {
    you = (await answer.json()).you;
    listen();
  } else {
    connection("lost", "The service is not responding. Trying again…");
    setTimeout(begin, RETRY_MS);
  }
}

begin();
