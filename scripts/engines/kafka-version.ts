import { connect } from 'node:net';
import { MeridianError } from '../../global/runtime/errors.js';

/**
 * Kafka has no request for its version. ApiVersions tells the highest `metadata.version` that the broker's software supports, and each
 * release raised it (org.apache.kafka.server.common.MetadataVersion): the last level of each release.
 */
const RELEASES: readonly (readonly [level: number, release: string])[] = [
  [7, '3.3'],
  [8, '3.4'],
  [11, '3.5'],
  [14, '3.6'],
  [19, '3.7'],
  [20, '3.8'],
  [21, '3.9'],
  [25, '4.0'],
  [27, '4.1'],
];

/** The release, e.g. `3.9`, of a level of `metadata.version`; `later than 4.1` beyond what is known here. */
export function releaseOf(level: number): string {
  const found = RELEASES.find(([last]) => level <= last);
  return found ? found[1] : `later than ${RELEASES.at(-1)![1]}`;
}

const API_VERSIONS = 18;
const API_VERSION = 3;
const CORRELATION = 1;
const ANSWER_BYTES_MAX = 64 * 1024;

/** ApiVersions v3 with request header v2, behind its length (KIP-511). */
export function apiVersionsRequest(): Buffer {
  const compact = (text: string) => Buffer.from([text.length + 1, ...Buffer.from(text)]);
  const head = Buffer.alloc(10);
  head.writeInt16BE(API_VERSIONS, 0);
  head.writeInt16BE(API_VERSION, 2);
  head.writeInt32BE(CORRELATION, 4);
  head.writeInt16BE(-1, 8);
  const body = Buffer.concat([head, Buffer.from([0]), compact('meridian-doctor'), compact('1'), Buffer.from([0])]);
  const length = Buffer.alloc(4);
  length.writeInt32BE(body.length);
  return Buffer.concat([length, body]);
}

/** The highest supported level of `metadata.version` in an answer (without its length); null where it names none (ZooKeeper, or before 3.3). */
export function metadataLevelOf(answer: Buffer): number | null {
  let at = 4;
  const varint = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = answer.readUInt8(at++);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
      if (shift > 21) throw new MeridianError('malformed', 'ApiVersions: a number is too long', 'never');
    }
  };
  const skipTags = () => {
    for (let left = varint(); left > 0; left--) {
      varint();
      const bytes = varint();
      at += bytes;
    }
  };
  const error = answer.readInt16BE(at);
  if (error !== 0) throw new MeridianError('refused', `ApiVersions: error ${error}`, 'never');
  at += 2;
  for (let left = varint() - 1; left > 0; left--) {
    at += 6;
    skipTags();
  }
  at += 4;
  for (let tags = varint(); tags > 0; tags--) {
    const tag = varint();
    const bytes = varint();
    const end = at + bytes;
    if (tag === 0) {
      for (let left = varint() - 1; left > 0; left--) {
        const length = varint() - 1;
        const name = answer.toString('latin1', at, at + length);
        at += length;
        const level = answer.readInt16BE(at + 2);
        at += 4;
        skipTags();
        if (name === 'metadata.version') return level;
      }
    }
    at = end;
  }
  return null;
}

/** The release of the broker at `host:port`, asked of it. Rejects where it does not answer within `budgetMs`. */
export async function askKafkaRelease(address: string, budgetMs: number): Promise<string | null> {
  const colon = address.lastIndexOf(':');
  const socket = connect({ host: address.slice(0, colon), port: Number(address.slice(colon + 1)) });
  socket.setTimeout(budgetMs, () => socket.destroy(new Error(`no answer within ${budgetMs} ms`)));
  try {
    socket.write(apiVersionsRequest());
    let received = Buffer.alloc(0);
    for await (const chunk of socket) {
      received = Buffer.concat([received, chunk as Buffer]);
      if (received.length < 4) continue;
      const length = received.readInt32BE();
      if (length > ANSWER_BYTES_MAX) break;
      if (received.length >= 4 + length) {
        const level = metadataLevelOf(received.subarray(4, 4 + length));
        return level === null ? null : releaseOf(level);
      }
    }
    throw new MeridianError('malformed', `${address} does not answer as Kafka does`, 'never');
  } finally {
    socket.destroy();
  }
}
