// The settings of a chat: their dialog, and the defaults of new chats.

import { byId } from "../dom.js";
import { DEFAULTS } from "./request.js";

const NAME = "mlxq-settings";
// Folded away: the setting, and the id of its field, which has the range.
const MORE = Object.entries({
  topP: "top-p", topK: "top-k", minP: "min-p", repetitionPenalty: "repetition-penalty",
  presencePenalty: "presence-penalty", frequencyPenalty: "frequency-penalty",
});
const MOST_STOPS = 64;

/** The settings that the reader chose last: new chats begin with them. */
export class RememberedSettings {
  constructor({ suffix }) {
    this._name = `${NAME}${suffix}`;
  }

  get() {
    try {
      return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(this._name) ?? "{}") };
    } catch {
      return { ...DEFAULTS };
    }
  }

  set(settings) {
    try {
      localStorage.setItem(this._name, JSON.stringify(settings));
    } catch { /* storage is forbidden: they last as long as this page */ }
  }
}

export class SettingsDialog {
  /** `get` and `set` reach the settings of the open conversation. */
  constructor({ get, set }) {
    this._get = get;
    this._set = set;
    this._dialog = byId("settings");
    this._problem = byId("settings-problem");
    byId("open-settings").addEventListener("click", () => this.open());
    byId("settings-reset").addEventListener("click", () => this._fill(DEFAULTS));
    byId("settings-done").addEventListener("click", () => this._close());
    byId("temperature").addEventListener("input", () => this._showTemperature());
    // Escape keeps what was set, like the button.
    this._dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      this._close();
    });
  }

  open() {
    this._fill(this._get());
    this._dialog.showModal();
  }

  _fill(settings) {
    const { system, temperature, maxTokens, seed } = settings;
    byId("system").value = system;
    byId("temperature").value = String(temperature);
    byId("max-tokens").value = String(maxTokens);
    byId("seed").value = seed === null ? "" : String(seed);
    for (const [name, id] of MORE) byId(id).value = settings[name] ?? "";
    byId("stop-texts").value = (settings.stop ?? []).map(asLine).join("\n");
    byId("more-settings").open =
      [...MORE.map(([, id]) => id), "stop-texts"].some((id) => byId(id).value !== "");
    this._say("");
    this._showTemperature();
  }

  _showTemperature() {
    byId("temperature-shown").textContent = Number(byId("temperature").value).toFixed(2);
  }

  _say(words) {
    this._problem.textContent = words;
    this._problem.hidden = words === "";
  }

  _close() {
    const maxTokens = Number(byId("max-tokens").value), seed = byId("seed").value.trim();
    if (!Number.isInteger(maxTokens) || maxTokens < 1 || maxTokens > 32768)
      return this._say("An answer has 1 to 32768 tokens.");
    // Larger numbers lose their last digits in a browser.
    if (seed && !(/^\d+$/.test(seed) && Number.isSafeInteger(Number(seed))))
      return this._say("A seed is a whole number up to 9007199254740991, or empty.");
    const wrong = MORE.map(([, id]) => byId(id)).find((field) => !field.validity.valid);
    if (wrong) return this._refuse(wrong);
    const stop = byId("stop-texts").value.split("\n").filter(Boolean).map(fromLine);
    if (stop.length > MOST_STOPS) return this._say(`There can be ${MOST_STOPS} stop texts.`);
    this._set({
      ...Object.fromEntries(MORE.map(([name, id]) => [name, numberIn(byId(id))])),
      system: byId("system").value, temperature: Number(byId("temperature").value), maxTokens,
      seed: seed ? Number(seed) : null, stop: stop.length ? stop : null,
    });
    this._dialog.close();
  }

  _refuse(field) {
    byId("more-settings").open = true;
    const whole = field.step === "1" ? "whole " : "";
    const range = `${whole}number from ${field.min} to ${field.max}`;
    this._say(`${field.labels[0].textContent} is a ${range}, or empty.`);
  }
}

/** A stop text as a line of its field, where \\n stands for a line break. */
const asLine = (text) => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
const fromLine = (line) => line.replace(/\\(n|\\)/g, (_, char) => (char === "n" ? "\n" : char));
const numberIn = (field) => (field.value === "" ? null : Number(field.value));
