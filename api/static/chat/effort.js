// How much the model thinks: a choice among what its chat template tells apart.

import { element } from "../dom.js";

const WORDS = { none: "off", minimal: "minimal", low: "low", medium: "medium", high: "high" };

export class EffortChoice {
  /** `changed(effort)` is called with the reader's choice; null is the model's own way. */
  constructor(select, changed) {
    this._select = select;
    select.addEventListener("change", () => changed(select.value || null));
  }

  /** Offer what a model has, or nothing; returns the effort that is wanted, if it has that. */
  show(model, wanted) {
    const efforts = model?.reasoning_efforts ?? [];
    const isSwitch = efforts.length === 2 && efforts[0] === "none";
    const options = [["", "auto"],
      ...efforts.map((effort) => [effort, isSwitch && effort !== "none" ? "on" : WORDS[effort]])];
    this._select.replaceChildren(...options.map(([value, words]) =>
      element("option", { value }, `Thinking: ${words ?? value}`)));
    this._select.hidden = efforts.length === 0;
    const known = efforts.includes(wanted) ? wanted : null;
    this._select.value = known ?? "";
    return known;
  }
}
