// The list of models to choose from: those that are downloaded, by name, with a mark on those that
// see images; and how much the chosen one thinks, where its chat template has a setting for that.

import { element } from "../dom.js";
import { listModels } from "./api.js";

const AGAIN_MS = 3000;

export class ModelChoice {
  /**
   * `changed(byReader)` is called when another model is chosen, `problem` with words, or none when
   * it is over.
   */
  constructor(select, { changed, problem }) {
    this._select = select;
    this._on = { changed, problem };
    this._models = [];
    this._requested = null;
    select.addEventListener("change", () => {
      this._requested = select.value;
      changed(true);
    });
    select.addEventListener("focus", () => this.load().catch(() => {}));
  }

  /** Load the models, and try again until the service answers. */
  async start() {
    for (;;) {
      try {
        await this.load();
        if (this._models.length) return this._on.problem();
        this._on.problem("There is no model yet: the worker may still be starting.");
      } catch (problem) {
        this._on.problem(problem.message);
      }
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }

  async load() {
    const models = (await listModels()).filter((model) =>
      model.downloaded && (model.capabilities ?? ["chat"]).includes("chat"));
    if (JSON.stringify(models) === JSON.stringify(this._models)) return;
    this._models = models;
    this._show();
  }

  /** The chosen model's record, or null. */
  get chosen() {
    return this._models.find((model) => model.id === this._select.value) ?? null;
  }

  /** Choose a model, now or as soon as it is known. */
  choose(id) {
    this._requested = id ?? this._requested;
    this._show();
  }

  name(id) {
    return this._models.find((model) => model.id === id)?.name ?? "";
  }

  /** The first model that sees images, or null. */
  seeing() {
    return this._models.find((model) => model.is_vision) ?? null;
  }

  _show() {
    if (this._models.length === 0) return;
    const options = this._models.map((model) =>
      element("option", { value: model.id },
        model.is_vision ? `${model.name} (sees images)` : model.name));
    this._select.replaceChildren(...options);
    const known = this._models.some((model) => model.id === this._requested);
    this._select.value = known ? this._requested : this._first().id;
    this._on.changed(false);
  }

  /** The model for who has chosen none. */
  _first() {
    return this._models.find((model) => model.default) ??
      this._models.find((model) => !model.is_vision) ?? this._models[0];
  }
}
