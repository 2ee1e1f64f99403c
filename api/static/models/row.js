// One model in the list. It keeps its elements while values change, so that a button keeps the
// focus and a menu stays open.

import { element } from "../dom.js";
import { bytes, span, whole } from "../status/format.js";

const BITS = [["", "Cache: full"], ["8", "Cache: 8 bits"], ["4", "Cache: 4 bits"]];
const DOING = { load: "Loading", pin: "Loading", unpin: "Unpinning", unload: "Unloading",
  remove: "Deleting", cancel: "Cancelling", download: "Starting the download" };

const button = (text, kind = "") =>
  element("button", { type: "button", class: `button small ${kind}`.trim() }, text);

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Speed, time left and share of a download, in words. */
export function progressText(model) {
  const parts = [`${Math.floor(model.download_progress)} %`];
  if (model.size) {
    const there = (model.size * model.download_progress) / 100;
    parts.push(`${bytes(there)} of ${bytes(model.size)}`);
  }
  if (model.download_speed !== null) parts.push(`${bytes(model.download_speed)}/s`);
  if (model.download_eta !== null) parts.push(`${span(model.download_eta * 1000)} left`);
  return parts.join(" · ");
}

/** How far a load is, in words: the weights are read, then the tokeniser, and it is tried out. */
export function loadText({ load_progress: percent, size }) {
  if (percent >= 100) return "Loading: weights read, getting ready";
  return `Loading: ${Math.floor(percent)} %${size ? ` of ${bytes(size)}` : ""} read`;
}

/** When a loaded model leaves the memory if nobody uses it, as far as that is known. */
export function unloadText({ loaded, pinned, ttl, unloads_in_s: left }) {
  if (!loaded) return "";
  if (pinned) return "never unloaded";
  const whole_s = (seconds) => span(Math.ceil(seconds) * 1000).replace(".0", "");
  if (typeof left === "number") return `unloaded in ${whole_s(left)}`;
  if (ttl > 0) return `unloaded ${whole_s(ttl)} after its last use`;
  return ttl < 0 ? "unloaded when its memory is needed" : "";
}

/** What is known of a model besides its name, in a line. */
export function factsText(model, known) {
  const parts = [];
  if (model.size) parts.push(bytes(model.size));
  if (model.context_window) parts.push(`context of ${whole(model.context_window)} tokens`);
  if (model.architecture !== "unknown") parts.push(model.architecture);
  if (known?.license) parts.push(known.license);
  if (unloadText(model)) parts.push(unloadText(model));
  if (model.repository && model.repository !== model.name) parts.push(model.repository);
  return parts.join(" · ");
}

/** Whether a model can do something; one that a release before has listed can chat. */
const capable = ({ capabilities = ["chat"] }, what) => capabilities.includes(what);

/** The chips of a model. `known` is its suggestion, which tells what its files don't. */
function chips(model, known) {
  const bits = model.kv_quantization;
  return [
    model.loaded && ["Loaded", "chip"],
    model.pinned && ["Pinned", "chip"],
    model.loaded && bits && [`${bits}-bit cache`, "chip"],
    model.loaded && model.draft_model && ["with a draft model", "chip"],
    model.base_id && ["Adapter", "chip plain"],
    capable(model, "embeddings") && ["Embeddings", "chip plain"],
    capable(model, "rerank") && ["Reranking", "chip plain"],
    model.is_vision && ["Sees images", "chip plain"],
    model.takes_tools && ["Tools", "chip plain"],
    known?.thinks && ["Thinks", "chip plain"],
  ].filter(Boolean);
}

export class ModelRow {
  /** `act(action, model, bits)` is called for a button. */
  constructor(model, act) {
    this.model = model;
    this.title = element("span");
    this.chips = element("span", { class: "chips" });
    this.facts = element("p", { class: "facts" });
    this.select = element("select", { "aria-label": `Key-value cache of ${model.name}` },
      ...BITS.map(([value, text]) => element("option", { value }, text)));
    this.chosen = false;
    this.buttons = {
      load: button("Load"), pin: button("Pin"), unload: button("Unload"), cancel: button("Cancel"),
      download: button("Resume"), remove: button("Delete", "danger"),
    };
    for (const [action, one] of Object.entries(this.buttons)) {
      one.setAttribute("aria-label", `${one.textContent} ${model.name}`);
      one.addEventListener("click", () => act(action === "pin" && this.model.pinned ? "unpin"
        : action, this.model, Number(this.select.value) || null));
    }
    this.buttons.pin.title = "A pinned model stays loaded, and is loaded when the worker starts";
    this.select.addEventListener("change", () => { this.chosen = true; this.show(this.model); });
    this.bar = element("progress", { max: 100, "aria-label": `Progress of ${model.name}` });
    this.words = element("span");
    this.doing = element("div", { class: "doing" }, this.bar, this.words);
    this.failed = element("p", { class: "doing failed" });
    this.element = element("li", { class: "model" },
      element("div", {}, element("p", { class: "name" }, this.title, this.chips), this.facts),
      element("div", { class: "actions" }, this.select, ...Object.values(this.buttons)),
      this.doing, this.failed);
  }

  /** `known` is what the suggestions tell of it; `doing` {action, since} while a command runs. */
  show(model, known = this.known, doing = this.underWay) {
    Object.assign(this, { model, known, underWay: doing });
    set(this.title, model.name);
    set(this.facts, factsText(model, known));
    const shown = chips(model, known);
    if (this.chips.textContent !== shown.map(([text]) => text).join(""))
      this.chips.replaceChildren(
        ...shown.map(([text, kind]) => element("span", { class: kind }, text)));
    this.showActions(model, Boolean(doing));
    this.showProgress(model, doing);
    const interrupted = !model.downloaded && !model.downloading && !doing;
    this.failed.hidden = !model.problem && !interrupted;
    set(this.failed, model.problem ?? model.download_error ?? "The download was interrupted.");
  }

  showActions(model, busy) {
    const bits = String(model.kv_quantization ?? "");
    if (!this.chosen && this.select.value !== bits) this.select.value = bits;
    if (this.select.value === bits) this.chosen = false;
    const { load, pin, unload, cancel, download, remove } = this.buttons;
    const loading = model.load_progress !== null;
    set(load, model.loaded ? "Reload" : "Load");
    load.setAttribute("aria-label", `${load.textContent} ${model.name}`);
    load.hidden = pin.hidden = !model.downloaded || Boolean(model.problem);
    // Other kinds have no such cache, and an adapter has its base's.
    this.select.hidden = load.hidden || !capable(model, "chat") || Boolean(model.base_id);
    load.disabled = busy || loading || (model.loaded && this.select.value === bits);
    set(pin, model.pinned ? "Unpin" : "Pin");
    pin.setAttribute("aria-label", `${pin.textContent} ${model.name}`);
    unload.hidden = !model.loaded;
    cancel.hidden = !model.downloading;
    download.hidden = model.downloaded || model.downloading;
    remove.hidden = !model.deletable || model.downloading;
    this.select.disabled = busy;
    for (const one of [pin, unload, cancel, download, remove]) one.disabled = busy || loading;
  }

  showProgress(model, doing) {
    const loading = model.load_progress !== null;
    this.doing.hidden = !doing && !model.downloading && !loading;
    if (model.downloading) {
      this.bar.value = model.download_progress;
      set(this.words, doing ? `${DOING[doing.action]}…` : progressText(model));
    } else if (loading) {
      this.bar.value = model.load_progress;
      set(this.words, loadText(model));
    } else if (doing) {
      this.bar.removeAttribute("value");
      const seconds = Math.floor((Date.now() - doing.since) / 1000);
      set(this.words, `${DOING[doing.action]}… ${seconds} s`);
    }
  }
}
