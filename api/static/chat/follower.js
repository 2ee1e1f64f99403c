// One answer on its way: starts the chat, reads its stream, comes back at the cursor when the connection is lost, stops.
// Writes into the answer's record and tells `on` about it; knows nothing of the page or of storage.

import { Refused, job, resumeChat, startChat, stopJob } from "./api.js";
import { eventsOf } from "./events.js";
import { errorWords, progressWords } from "./words.js";

const SILENCE_MS = 60_000; // the service sends a comment every 15 s: after this the connection is taken for dead
const PAUSES_MS = [200, 500, 1000, 2000, 4000, 8000];
const PATIENCE_MS = 10 * 60_000; // how long a chat that is refused for now is asked for again
const FOR_NOW = new Set(["queue_full", "images_full", "busy", "no_worker", "workers_outdated", "redis_unavailable", "redis_full"]);

/** `on` is told: text() and status(words) while it runs, started() when the job has a name, ended() once. */
export class Follower {
  constructor(answer, request, on) {
    this.answer = answer;
    this._request = request; // asked for only when the chat has to be started
    this._on = on;
    this._stopping = false;
    this._gone = false;
    this._abort = null;
    this._wake = () => {};
    this._tries = 0;
    this._refusedSince = null;
  }

  /** Follow to the end. */
  async run() {
    while (this.answer.state === "running" && !this._gone) {
      try {
        await this._connection();
      } catch (problem) {
        await this._after(problem);
      }
    }
    if (!this._gone) this._on.ended();
  }

  /** Ask the service to stop the chat; its end comes over the stream like any other. */
  stop() {
    this._stopping = true;
    this._on.status("Stopping");
    if (this.answer.jobId) this._sendStop();
    else if (!this._abort) this._end({ finish: "cancelled" }); // never sent, or refused: nothing runs
    this._wake();
  }

  /** Stop reading, without an end: somebody else looks after the answer. */
  leave() {
    this._gone = true;
    this._abort?.abort();
    this._wake();
  }

  async _connection() {
    this._abort = new AbortController();
    let timer = 0;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => this._abort?.abort(), SILENCE_MS);
    };
    try {
      heard();
      const response = await this._open(this._abort.signal);
      this._refusedSince = null;
      if (response.status === 204) return await this._lookUpEnd();
      if (this._stopping) this._sendStop();
      for await (const events of eventsOf(response.body, heard)) this._take(events);
    } finally {
      clearTimeout(timer);
      this._abort = null;
    }
    // Ended without its last frame: the service restarts, or somebody between us has closed the connection.
    if (this.answer.state === "running") throw new Error("the stream was cut");
  }

  async _open(signal) {
    const { jobId, cursor, key } = this.answer;
    if (jobId) return resumeChat(jobId, cursor, signal);
    const response = await startChat(await this._request(), key, signal);
    this.answer.jobId = response.headers.get("X-Job-Id");
    this._on.started();
    return response;
  }

  _take(events) {
    let grown = false;
    for (const { id, data } of events) {
      const frame = JSON.parse(data);
      if (frame.progress) {
        this._on.status(progressWords(frame.progress));
        continue;
      }
      this._tries = 0;
      if (frame.warning) this._takeWarning(frame.warning);
      else if (id <= this.answer.cursor && !frame.done) continue; // seen before
      this.answer.cursor = id;
      this.answer.text += frame.text;
      grown = true;
      if (frame.done) this._takeEnd(frame);
    }
    if (grown && this.answer.state === "running") this._on.text();
  }

  /** It has no token: a resumption from the same place tells it again. */
  _takeWarning(warning) {
    if (!this.answer.warnings.includes(warning)) this.answer.warnings.push(warning);
  }

  _takeEnd({ error, code, finish_reason: finish, usage, timings }) {
    this._end({ finish: finish ?? (error ? "error" : "stop"), usage, timings, code, detail: error });
  }

  _end({ finish, usage = null, timings = null, code, detail }) {
    const error = code ? { code, words: errorWords(code, detail) } : null;
    Object.assign(this.answer, { state: "done", finish, usage, timings, error });
  }

  /** The service has nothing more to stream: the end was seen, or it was cut off behind the last text. */
  async _lookUpEnd() {
    const seen = await job(this.answer.jobId);
    this.answer.text = seen.text;
    this._end({ finish: seen.finish_reason, usage: seen.usage, timings: seen.timings, code: seen.code, detail: seen.error });
  }

  async _after(problem) {
    if (this._gone || this.answer.state !== "running") return;
    const refused = problem instanceof Refused ? problem : null;
    if (refused && refused.status < 500 && !FOR_NOW.has(refused.code)) return this._fail(refused);
    if (!this.answer.jobId && this._stopping) return this._end({ finish: "cancelled" });
    if (refused && !this.answer.jobId) {
      this._refusedSince ??= Date.now();
      if (!FOR_NOW.has(refused.code) || Date.now() - this._refusedSince > PATIENCE_MS) return this._fail(refused);
      return this._pauseRefused(refused);
    }
    this._on.status("Reconnecting");
    await this._pause(PAUSES_MS[Math.min(this._tries++, PAUSES_MS.length - 1)]);
  }

  _fail({ code, message }) {
    this._end({ finish: "error", code: code || "unknown", detail: message });
  }

  async _pauseRefused({ code, message, retryAfter }) {
    const words = errorWords(code, message);
    for (let left = retryAfter ?? 2; left > 0 && !this._stopping && !this._gone; left -= 1) {
      this._on.status(`${words} Trying again in ${left} s`);
      await this._pause(1000);
    }
  }

  /** Wait; a connection that comes back, a stop and a leave end the wait. */
  async _pause(ms) {
    const over = new AbortController();
    await new Promise((resolve) => {
      this._wake = resolve;
      const timer = setTimeout(resolve, ms);
      addEventListener("online", resolve, { signal: over.signal });
      over.signal.addEventListener("abort", () => clearTimeout(timer));
    });
    over.abort();
    this._wake = () => {};
  }

  // Failing is no matter: the stop is sent again with the next connection, and until then the stream goes on.
  _sendStop() {
    stopJob(this.answer.jobId).catch(() => this._abort?.abort());
  }
}
