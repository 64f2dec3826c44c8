// What is not as it should be with the sensor itself: said on the overview, counted beside "Health".

import { get } from "./api.js";
import { bytes, full } from "./format.js";

const plural = (count, one, many) => count === 1 ? `1 ${one}` : `${full(count)} ${many}`;

function ofStatus({ status, blind_spots: blind, lost }) {
  const parts = status.parts.filter((part) => part.pid === null && !part.resting).map((part) => `${part.name} is not running`);
  const losses = Object.values(lost).reduce((sum, count) => sum + count, 0);
  const encrypted = blind.reduce((sum, row) => sum + row.encrypted_bytes, 0);
  const dropped = Object.entries(status.export ?? {}).reduce((sum, [name, count]) => name.startsWith("dropped.") ? sum + count : sum, 0);
  return [
    ...parts,
    status.export?.state === "retrying" ? `spans are not delivered to ${status.export.endpoint}` : null,
    dropped ? `${plural(dropped, "span was", "spans were")} not delivered` : null,
    blind.length ? `the HTTPS of ${plural(blind.length, "process", "processes")} is not seen (${bytes(encrypted)})` : null,
    losses ? `${plural(losses, "loss was", "losses were")} counted since the start` : null,
  ].filter(Boolean);
}

/** Sentences; none: all is well. Rejects only where the view was left meanwhile. */
export async function concerns(signal) {
  const told = (error) => {
    if (error.name === "AbortError") throw error;
    return [error.message];
  };
  const [now, kept] = await Promise.all([
    get(["status"], {}, signal).then(ofStatus, told),
    get(["facts"], {}, signal).then((facts) => facts.notes, told),
  ]);
  return [...now, ...kept];
}
