// Follows one running answer: starts the chat, reads its stream, reconnects at the cursor when the
// connection is lost, stops it. Updates the answer's record and calls `on`; knows nothing of the
// page or of storage.

import { Refused, job, resumeChat, startChat, stopJob } from "./api.js";
import { eventsOf } from "./events.js";
import { errorWords, progressWords } from "./words.js";

// The service sends a comment every 15 s: after this the connection counts as lost.
const SILENCE_MS = 60_000;
const PAUSES_MS = [200, 500, 1000, 2000, 4000, 8000];
const RETRY_FOR_MS = 10 * 60_000; // how long a chat that is refused for the moment is retried
const TEMPORARY = new Set(["queue_full", "images_full", "busy", "no_worker", "workers_outdated",
  "redis_unavailable", "redis_full", "suspended"]);

/**
 * Calls `on`: text() and status(words) while it runs, started() when the job id is known, ended()
 * once.
 */
export class Follower {
  constructor(answer, request, on) {
    this.answer = answer;
    this._request = request; // called only when the chat has to be started
    this._on = on;
    this._stopping = false;
    this._left = false;
    this._abort = null;
    this._wake = () => {};
    this._tries = 0;
    this._refusedSince = null;
  }

  /** Follow to the end. */
  async run() {
    while (this.answer.state === "running" && !this._left) {
      try {
        await this._connection();
      } catch (problem) {
        await this._after(problem);
      }
    }
    if (!this._left) this._on.ended();
  }

  /** Ask the service to stop the chat; the end arrives in the stream like any other. */
  stop() {
    this._stopping = true;
    this._on.status("Stopping");
    if (this.answer.jobId) this._sendStop();
    // Never sent, or refused: nothing is running.
    else if (!this._abort) this._end({ finish: "cancelled" });
    this._wake();
  }

  /**
   * Stop reading without ending the answer: another tab follows it, or its conversation was
   * deleted.
   */
  leave() {
    this._left = true;
    this._abort?.abort();
    this._wake();
  }

  async _connection() {
    this._abort = new AbortController();
    let timer = 0;
    const received = () => {
      clearTimeout(timer);
      timer = setTimeout(() => this._abort?.abort(), SILENCE_MS);
    };
    try {
      received();
      const response = await this._open(this._abort.signal);
      this._refusedSince = null;
      if (response.status === 204) return await this._lookUpEnd();
      if (this._stopping) this._sendStop();
      for await (const events of eventsOf(response.body, received)) {
        this._read(events);
        // At its last frame, not when the stream is closed: a proxy may be late with that.
        if (this.answer.state !== "running") return;
      }
    } finally {
      clearTimeout(timer);
      this._abort = null;
    }
    // The stream ended without its last frame: the service restarts, or a proxy has closed the
    // connection.
    throw new Error("the stream was cut");
  }

  async _open(signal) {
    const { jobId, cursor, key } = this.answer;
    if (jobId) return resumeChat(jobId, cursor, signal);
    const response = await startChat(await this._request(), key, signal);
    this.answer.jobId = response.headers.get("X-Job-Id");
    this._on.started();
    return response;
  }

  _read(events) {
    let hasText = false;
    for (const { id, data } of events) {
      const frame = JSON.parse(data);
      if (frame.progress) {
        this._on.status(progressWords(frame.progress));
        continue;
      }
      this._tries = 0;
      if (frame.warning) this._addWarning(frame.warning);
      else if (id <= this.answer.cursor && !frame.done) continue; // received before
      this.answer.cursor = id;
      hasText = this._append(frame) || hasText;
      if (frame.done) this._readEnd(frame);
    }
    if (hasText && this.answer.state === "running") this._on.text();
  }

  /** Add what a frame says; whether that is something. */
  _append({ text, reasoning = "" }) {
    const { answer } = this;
    if (reasoning) answer.thinkingSince ??= Date.now();
    // To the first text behind it: the thinking ends there.
    if (answer.thinkingSince && (reasoning || answer.text === answer.said))
      answer.thoughtMs = answer.saidMs + Math.max(1, Date.now() - answer.thinkingSince);
    answer.reasoning += reasoning;
    answer.text += text;
    return Boolean(text || reasoning);
  }

  /** A warning has no token: after a reconnect at the same cursor it arrives again. */
  _addWarning(warning) {
    if (!this.answer.warnings.includes(warning)) this.answer.warnings.push(warning);
  }

  _readEnd({ error, code, finish_reason: finish, usage, timings }) {
    this._end(
      { finish: finish ?? (error ? "error" : "stop"), usage, timings, code, detail: error });
  }

  _end({ finish, usage = null, timings = null, code, detail }) {
    const error = code ? { code, words: errorWords(code, detail) } : null;
    Object.assign(this.answer, { state: "done", finish, usage, timings, error });
  }

  /**
   * The service has nothing more to stream: the end was seen before, or lost after the last text.
   */
  async _lookUpEnd() {
    const record = await job(this.answer.jobId);
    this.answer.text = this.answer.said + record.text;
    this.answer.reasoning = this.answer.saidReasoning + record.reasoning;
    const { finish_reason: finish, usage, timings, code, error: detail } = record;
    this._end({ finish, usage, timings, code, detail });
  }

  async _after(problem) {
    if (this._left || this.answer.state !== "running") return;
    const refused = problem instanceof Refused ? problem : null;
    if (refused && refused.status < 500 && !TEMPORARY.has(refused.code)) return this._fail(refused);
    if (!this.answer.jobId && this._stopping) return this._end({ finish: "cancelled" });
    if (refused && !this.answer.jobId) {
      this._refusedSince ??= Date.now();
      if (!TEMPORARY.has(refused.code) || Date.now() - this._refusedSince > RETRY_FOR_MS)
        return this._fail(refused);
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
    let seconds = retryAfter ?? 2;
    for (; seconds > 0 && !this._stopping && !this._left; seconds -= 1) {
      this._on.status(`${words} Trying again in ${seconds} s`);
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

  // If this fails, the stop is sent again with the next connection.
  _sendStop() {
    stopJob(this.answer.jobId).catch(() => this._abort?.abort());
  }
}
