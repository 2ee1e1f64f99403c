// The API calls of the page. Every failure is a Refused, with the service's reason, or an
// Unreachable.

/**
 * The service refused: its code and sentence, and the seconds after which to try again (or null).
 */
export class Refused extends Error {
  constructor(status, { code = "", detail = "", errors = [] }, retryAfter) {
    super([detail, ...errors].join(" "));
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** No answer, or one that isn't the service's. */
export class Unreachable extends Error {}

const signedOut = new Set();

/**
 * Register a function that is called whenever the service requires a key; it resolves after the
 * sign-in.
 */
export function onSignedOut(ask) {
  signedOut.add(ask);
}

/** The response to a request. Where a key is required, waits for the sign-in and asks again. */
export async function call(path, options) {
  for (;;) {
    try {
      return await callOnce(path, options);
    } catch (problem) {
      if (problem.status !== 401 || signedOut.size === 0) throw problem;
      await Promise.all([...signedOut].map((ask) => ask()));
    }
  }
}

/** The same without waiting for a sign-in. */
async function callOnce(path, { method = "GET", body, headers = {}, signal } = {}) {
  const json = body === undefined ? {} : { "Content-Type": "application/json" };
  const response = await answer(path,
    { method, body, headers: { ...json, ...headers }, signal, cache: "no-store" });
  if (response.ok) return response;
  throw await refusal(response);
}

async function answer(path, options) {
  try {
    return await fetch(path, options);
  } catch (problem) {
    if (options.signal?.aborted) throw problem;
    throw new Unreachable("The service can't be reached.");
  }
}

async function refusal(response) {
  const after = Number(response.headers.get("Retry-After"));
  const body = await response.json().catch(() => ({}));
  return new Refused(response.status, body ?? {}, after > 0 ? after : null);
}

const json = async (path, options) => (await call(path, options)).json();
const SESSION = "/api/engine/session";

/**
 * The owner of the key that this browser is signed in with, and `keys`: whether the service has
 * any.
 */
export const session = () => json(SESSION);
export const sessionNow = async () => (await callOnce(SESSION)).json();
export const endSession = () => callOnce("/logout", { method: "POST" });

export const listModels = () => json("/api/engine/models");
export const job = (id) => json(`/api/engine/jobs/${id}`);
export const stopJob = (id) =>
  json("/api/engine/chat/stop", { method: "POST", body: JSON.stringify({ job_id: id }) });
export const resumeChat = (id, after, signal) =>
  call(`/api/engine/chat/${id}/events?after=${after}`, { signal });

/**
 * Start a chat. With the same idempotency key the service returns the same chat, so that retrying
 * is safe.
 */
export function startChat(request, key, signal) {
  return call("/api/engine/chat",
    { method: "POST", body: JSON.stringify(request), headers: { "Idempotency-Key": key }, signal });
}
