// The REST API (docs/api.md). Errors are thrown as ApiError with the server's one line.

import { address } from "./dom.js";

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "unavailable", "The sensor's page does not answer. Is the sensor running?");
  }
  if (answer.status === 401) location.reload(); // the session is over: the same address asks for the token
  let body;
  try {
    body = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(answer.status, "unavailable", `The sensor answered ${answer.status} without saying why.`);
  }
  if (!answer.ok) throw new ApiError(answer.status, body.error.code, body.error.message);
  return body;
}

export function get(parts, parameters, signal) {
  return ask(address(["api", "v1", ...parts], parameters), { signal });
}

export function post(parts, body) {
  return ask(address(["api", "v1", ...parts]), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
}
