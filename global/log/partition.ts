/**
 * Kafka's default partitioner on a trace id: murmur2 (seed 0x9747b28c) of the 16 raw bytes, sign bit cleared, modulo the partitions.
 * Source: org.apache.kafka.common.utils.Utils.murmur2. Every client that keys by the raw trace id agrees (Lo2).
 */
export function tracePartition(bytes: Uint8Array, at: number, partitionCount: number): number {
  return (murmur2Of16(bytes, at) & 0x7fffffff) % partitionCount;
}

const M = 0x5bd1e995;

function murmur2Of16(bytes: Uint8Array, at: number): number {
  let h = 0x9747b28c ^ 16;
  for (let i = at; i < at + 16; i += 4) {
    let k = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
    k = Math.imul(k, M);
    k ^= k >>> 24;
    k = Math.imul(k, M);
    h = Math.imul(h, M) ^ k;
  }
  h ^= h >>> 13;
  h = Math.imul(h, M);
  return h ^ (h >>> 15);
}
