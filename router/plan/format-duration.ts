import { NANOS_PER_MS } from '../../global/model/time.js';

/** A duration for a person: `41 s`, `850 ms`, `12 min`, `3 h 5 min`. Rounded down, never below zero. */
export function formatDuration(nano: bigint): string {
  const ms = Number((nano < 0n ? 0n : nano) / NANOS_PER_MS);
  if (ms < 1000) return `${ms} ms`;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return seconds % 60 === 0 ? `${minutes} min` : `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
