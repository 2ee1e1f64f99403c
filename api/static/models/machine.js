// The memory of each machine: how much is used, how much of it by models, how much is free.

import { element } from "../dom.js";
import { bytes } from "../status/format.js";

const shown = new Map();

/** A machine's whole memory in bytes, from the share of it that is used. */
export function total(memory) {
  const free = Math.max(0.001, 1 - memory.percent / 100);
  return memory.available_bytes / free;
}

/** `machines` are the status' rows of memory, `models` those of models in memory. */
export function showMemory(holder, machines, workers, models) {
  const keep = new Set(machines.map((machine) => machine.host));
  for (const [host, row] of shown) {
    if (keep.has(host)) continue;
    row.holder.remove();
    shown.delete(host);
  }
  for (const machine of machines) {
    const here = workers.filter((one) => one.host === machine.host);
    const names = new Set(here.map((one) => one.name));
    const weights = models.filter((one) => names.has(one.worker))
      .reduce((sum, one) => sum + one.bytes, 0);
    update(row(holder, machine.host), machine, weights, machines.length > 1);
  }
}

function row(holder, host) {
  if (!shown.has(host)) {
    const used = element("span"), free = element("span", { class: "muted" });
    const meter = element("meter", { min: 0, max: 100, high: 92, low: 80, optimum: 0 });
    const one = { used, free, meter,
      holder: element("div", { class: "machine" }, element("p", {}, used, free), meter) };
    holder.append(one.holder);
    shown.set(host, one);
  }
  return shown.get(host);
}

/** One line about the cached prompts on disk; nothing where there are none. */
export function showDiskCaches(line, workers) {
  const caches = workers.map((worker) => worker.disk_cache).filter(Boolean);
  const sum = (field) => caches.reduce((all, one) => all + one[field], 0);
  const problem = caches.find((one) => one.problem)?.problem;
  line.hidden = !caches.length;
  set(line, `Cached prompts on disk: ${sum("entries")}, ${bytes(sum("bytes"))} of `
    + `${bytes(sum("cap_bytes"))}; ${sum("hits")} hits, ${bytes(sum("bytes_written"))} written`
    + (problem ? `. ${problem}` : ""));
}

function update({ used, free, meter }, machine, weights, named) {
  const all = total(machine), taken = all - machine.available_bytes;
  const where = named ? `${machine.host}: ` : "";
  const byModels = weights ? `, ${bytes(weights)} by models` : "";
  set(used, `${where}${bytes(taken)} of ${bytes(all)} memory used${byModels}`);
  set(free, `${bytes(machine.available_bytes)} free`);
  meter.value = machine.percent;
  meter.setAttribute("aria-label", `Memory used${named ? ` on ${machine.host}` : ""}`);
}

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
