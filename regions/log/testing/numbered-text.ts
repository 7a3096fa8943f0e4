/** A value that tells its number and has a length of its own; now and then one that goes over several rows. */
export function numberedText(n: number): string {
  return `${n}`.padEnd(n % 13 === 0 ? 150_000 : 50 + ((n * 7919) % 3000), '.');
}
