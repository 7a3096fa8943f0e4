import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { writeEndpoints } from '../../fleet/endpoints.js';
import type { CommandContext } from '../context.js';
import { ExitCode, exitCodeOf } from '../exit-codes.js';
import { replayCommand } from './maintain.js';
import { snapshotRestoreCommand } from './snapshot-restore.js';

const NAME = 'hourly-20260131t060700z';
const REGION = 'us-east-1';
const TO_MS = Date.UTC(2026, 0, 31, 7);
const plan = {
  snapshot: { name: NAME, kind: 'hourly', takenMs: TO_MS - 1000, positions: [] },
  toMs: TO_MS,
  replay: [
    { group: 'writer', topic: 'segments', partition: 0, from: 3, to: 5, end: 9 },
    { group: 'writer', topic: 'segments', partition: 1, from: 7, to: 7, end: 7 },
  ],
};
const restoring = { snapshot: NAME, toMs: TO_MS, stage: 'replaying', blocks: 1, unreadable: 0 };
const MEMBERS = {
  status: 409,
  body: { error: 'rewinding group writer on segments/0: it has members', code: 'refused', retry: 'later' },
};

interface Answer {
  readonly status: number;
  readonly body: object;
}

/** A region whose maintenance port gives these answers to POST, and these restores, one after the other, to who asks how it stands. */
async function setUp(options: { begin?: Answer; restores?: object[]; reply?: string } = {}) {
  const asked: string[] = [];
  const restores = [...(options.restores ?? [{ ...restoring, stage: 'done', blocks: 2 }])];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    const answer = (): Answer => {
      if (request.method === 'POST') return options.begin ?? { status: 200, body: restoring };
      if (request.url!.includes('/restore')) return { status: 200, body: plan };
      const restore = restores.length > 1 ? restores.shift() : restores[0];
      return { status: 200, body: { snapshots: [], lastFailure: null, restore } };
    };
    const { status, body } = answer();
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const data = mkdtempSync(join(tmpdir(), 'meridian-restore-command-'));
  onTestFinished(() => {
    server.close();
    rmSync(data, { recursive: true, force: true });
  });
  const admin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const at = { otlpGrpc: '', otlpHttp: '', zipkin: '', jaegerThrift: '', regionApi: '', admin, pid: 1 };
  writeEndpoints(data, { regions: { [REGION]: at }, routers: {}, control: { url: '', pid: 1 } });
  const lines: string[] = [];
  const out = (line: string) => void lines.push(line);
  const { reply } = options;
  const context: CommandContext = {
    terminal: {
      colors: false,
      width: 80,
      out,
      note: out,
      progress: () => {},
      ...(reply === undefined ? {} : { ask: async () => reply }),
    },
    environment: {},
    stop: new AbortController().signal,
  };
  return { context, asked, lines, admin, options: { data, region: REGION, to: '2026-01-31T07:00:00Z' } };
}

const posts = (asked: readonly string[]) => asked.filter((line) => line.startsWith('POST'));

test('--dry-run tells the snapshot, the stretch of the log and what stays out, and begins nothing', async () => {
  const { context, asked, lines, options } = await setUp();
  expect(await snapshotRestoreCommand(context, { ...options, dryRun: true })).toBe(ExitCode.done);
  expect(posts(asked)).toEqual([]);
  const text = lines.join('\n');
  expect(text).toContain(`snapshot  ${NAME}`);
  expect(text).toMatch(/then +2 records of the log \(segments\)/);
  expect(text).toMatch(/segments\/0 +3 to 4/);
  expect(text).not.toContain('segments/1');
  expect(text).toMatch(/left out +4 records .*meridian replay --region us-east-1 --view store --from 2026-01-31T07:00/);
});

test.each([
  ['nobody is there to confirm it', undefined, /Add --yes/],
  ['the answer is no', 'n', /nothing was touched/],
  ['they leave', '', /nothing was touched/],
])('nothing is begun where %s', async (_name, reply, message) => {
  const { context, asked, options } = await setUp(reply === undefined ? {} : { reply });
  const failure: unknown = await snapshotRestoreCommand(context, options).catch((error: unknown) => error);
  expect(String(failure)).toMatch(message);
  expect(exitCodeOf(failure)).toBe(ExitCode.refused);
  expect(posts(asked)).toEqual([]);
});

test('confirmed, it begins with exactly what was shown and waits until it is done', async () => {
  const { context, asked, lines, options } = await setUp({
    reply: 'y',
    restores: [restoring, { ...restoring, stage: 'done', blocks: 2, unreadable: 1 }],
  });
  expect(await snapshotRestoreCommand(context, options)).toBe(ExitCode.done);
  expect(posts(asked)).toEqual([`POST /control/snapshots/restore?to=${TO_MS}&name=${NAME}`]);
  expect(lines.join('\n')).toContain('2 blocks of the log after it; 1 records were no blocks');
});

test('a restore that fails on the way says that the store is incomplete and that repeating is safe', async () => {
  const failed = { ...restoring, stage: 'failed', error: 'disk full' };
  const { context, options } = await setUp({ restores: [restoring, failed] });
  await expect(snapshotRestoreCommand(context, { ...options, yes: true })).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringMatching(/disk full\. The store is incomplete.*repeating is safe/) as string,
  });
});

test('where other processes of the region are in the group, restore and replay say which to stop', async () => {
  const { context, options, admin } = await setUp({ begin: MEMBERS });
  const { data, region } = options;
  const runs = [
    () => snapshotRestoreCommand(context, { ...options, yes: true }),
    () => replayCommand(context, { data, region, view: 'store', from: 'earliest' }),
  ];
  for (const run of runs) {
    const failure: unknown = await run().catch((error: unknown) => error);
    expect(String(failure)).toContain('it has members');
    expect(String(failure)).toContain(`stop all of them but the one at ${admin}`);
    expect(exitCodeOf(failure)).toBe(ExitCode.refused);
  }
});
