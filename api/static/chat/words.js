// The page's sentences about waiting, errors and figures.

const ERRORS = {
  queue_full: "The queue is full.",
  quota_exceeded: "The tokens of this API key are used up for today (UTC).",
  images_full: "There is no room for more images right now.",
  busy: "The service is busy.",
  no_worker: "No worker is running.",
  workers_outdated: "This needs a newer worker: one of an older release is still running.",
  redis_unavailable: "The queue can't be reached.",
  redis_full: "The queue's storage is full.",
  model_not_found: "This model is no longer available. Choose another one.",
  prompt_too_long: "This conversation is too long for the model. " +
    "Start a new chat, or shorten the message.",
  too_large: "The message with its images is too large.",
  insufficient_memory: "There is not enough memory for this model.",
  load_failed: "The model could not be loaded.",
  template_failed: "The model's chat template refused this conversation.",
  engine_failed: "An error occurred while the answer was generated.",
  tool_call_unreadable: "The model wrote a tool call that could not be read.",
  gave_up_after_crashes: "The answer was abandoned after the worker crashed on it repeatedly.",
  model_changed: "The model's files changed while the answer was generated.",
  job_lost: "The answer was lost.",
  suspended: "The queue is suspended.",
  job_not_found: "The service no longer has this answer.",
  job_unreadable: "The worker could not read this chat.",
  job_timeout: "The answer took too long and was stopped.",
  expired: "The rest of this answer has expired.",
  unauthorized: "Sign in first.",
  forbidden: "The service does not accept requests from this page.",
};
const WITH_DETAIL =
  new Set(["load_failed", "insufficient_memory", "template_failed", "engine_failed"]);

/** The sentence for an error code, with the service's detail where that says more. */
export function errorWords(code, detail) {
  const sentence = ERRORS[code];
  if (!sentence) return detail || "Something went wrong.";
  return WITH_DETAIL.has(code) && detail && detail !== sentence ? `${sentence} ${detail}`
    : sentence;
}

/** The progress of a job in words, from a progress frame. */
export function progressWords({ state, position, done, total }) {
  if (state === "queued")
    return position === 1 ? "Next in the queue" : `Number ${position} in the queue`;
  if (state === "suspended") return "The queue is suspended";
  if (state === "no_worker") return "The worker is not responding; the chat resumes when one does";
  if (state === "loading") return "Loading the model";
  if (total > 0 && done < total)
    return `Reading the conversation, ${Math.floor((100 * done) / total)} %`;
  return "Reading the conversation";
}

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const rate = (value) => (value < 10 ? value.toFixed(1) : number.format(value));
export const duration = (ms) =>
  (ms < 1000 ? `${Math.max(1, Math.round(ms))} ms`
    : `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`);

/** How long a model has thought, in ms; 0: that isn't known. */
export function thoughtWords(ms) {
  if (!ms) return "Thought";
  const seconds = Math.max(1, Math.round(ms / 1000));
  return seconds < 60 ? `Thought for ${seconds} s`
    : `Thought for ${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** The figures of an answer, for the line below it. */
export function figures({ usage, timings, saidTokens = 0 }) {
  const parts = [];
  const tokens = saidTokens + (usage?.completion_tokens ?? 0);
  if (usage && tokens === 1) parts.push("1 token");
  else if (usage) parts.push(`${number.format(tokens)} tokens`);
  if (timings?.tokens_per_second > 0) parts.push(`${rate(timings.tokens_per_second)} tokens/s`);
  if (timings?.ttft_ms > 0) parts.push(`first token after ${duration(timings.ttft_ms)}`);
  return parts;
}

/** Where the time went: the tooltip of the figures. */
export function figuresAtLength({ usage, timings }) {
  if (!usage || !timings) return "";
  return `Prompt: ${number.format(usage.prompt_tokens)} tokens, ` +
    `${number.format(usage.cached_tokens)} of them from the cache. ` +
    `Queue ${duration(timings.queue_ms)}, loading ${duration(timings.load_ms)}, ` +
    `reading ${duration(timings.prefill_ms)}, first token after ${duration(timings.ttft_ms)}.`;
}

/** How an answer ended, if there is something to say about it. */
export function endWords(finish) {
  if (finish === "cancelled") return "Stopped";
  if (finish === "length") return "Stopped at the token limit";
  return "";
}
