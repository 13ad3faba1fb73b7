// REST calls: JSON in and out, the CSRF token on unsafe ones, problems as errors with the protocol's code.

const SENTENCES = {
  unauthenticated: "Please sign in.",
  forbidden: "You may not do that.",
  not_member: "You are not a member of this room.",
  muted: "You are muted in this room.",
  banned: "You are banned from this room.",
  not_found: "That is not there (any more).",
  conflict: "That is taken already.",
  too_large: "That is too long.",
  rate_limited: "Too fast. Please wait a moment.",
  internal: "The server made a mistake. Please try again.",
  unavailable: "The server cannot do that at the moment. Please try again.",
  unknown: "It is not certain whether that has worked.",
};

export class ProblemError extends Error {
  constructor(code, detail) {
    super((code === "invalid" || code === "conflict" || code === "unauthenticated") && detail ? detail : sentence(code));
    this.code = code;
  }
}

/** What a person is told for an error code. */
export function sentence(code) {
  return SENTENCES[code] ?? "That did not work.";
}

let csrfToken = null;

export async function getSession() {
  const session = await call("GET", "/session");
  csrfToken = session.csrf_token;
  return session;
}

export async function call(method, path, body) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRFToken"] = csrfToken;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(`/api/v1${path}`, { method, headers, body: body && JSON.stringify(body), credentials: "same-origin" });
  } catch {
    throw new ProblemError("unavailable");
  }
  const answer = response.status === 204 ? null : await response.json().catch(() => null);
  if (!response.ok) throw new ProblemError(answer?.code ?? "internal", answer?.detail);
  return answer;
}
