import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Registry } from 'prom-client';
import { expect, onTestFinished, test } from 'vitest';
import { ManualClock } from '../../global/runtime/clock.js';
import { type ErrorCode, MeridianError } from '../../global/runtime/errors.js';
import type { RestoreRequest } from '../store/snapshot-service.js';
import { adminApi, type RegionMaintenance } from './admin-api.js';

const NOW_MS = Date.UTC(2026, 0, 31, 7);
const NAME = 'hourly-20260131t060700z';

/** An admin port whose maintenance notes what it is asked for, or fails. */
async function setUp(failure?: Error) {
  const asked: [string, unknown?][] = [];
  const did = async (what: string, how?: unknown) => {
    asked.push([what, how]);
    if (failure) throw failure;
  };
  const snapshot = { name: NAME, kind: 'hourly', takenMs: NOW_MS, positions: [] } as const;
  const maintenance: RegionMaintenance = {
    replay: (view, from) => did('replay', { view, from }),
    replayProgress: async () => ({ view: 'store', done: true, recordsDone: 1, recordsTotal: 1 }),
    setLink: () => {},
    reconcile: () => did('reconcile'),
    snapshots: {
      create: () => did('create').then(() => snapshot),
      status: () => did('status').then(() => ({ snapshots: [snapshot], lastFailure: null, restore: null })),
      plan: (request: RestoreRequest) =>
        did('plan', request).then(() => ({ snapshot, toMs: request.toMs, replay: [] })),
      beginRestore: (request: RestoreRequest) =>
        did('restore', request).then(() => ({
          snapshot: NAME,
          toMs: request.toMs,
          stage: 'copying' as const,
          blocks: 0,
          unreadable: 0,
        })),
    },
  };
  const health = {
    ready: () => true,
    checks: [],
    registry: new Registry(),
    clock: new ManualClock(NOW_MS),
    checkLimitMs: 100,
  };
  const server = createServer(adminApi(health, () => maintenance)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const ask = async (method: string, path: string) => {
    const response = await fetch(`${url}${path}`, { method });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  return { asked, ask };
}

test('snapshots are taken and listed', async () => {
  const { ask, asked } = await setUp();
  expect(await ask('POST', '/control/snapshots')).toMatchObject({ status: 200, body: { name: NAME } });
  expect(await ask('GET', '/control/snapshots')).toMatchObject({ status: 200, body: { snapshots: [{ name: NAME }] } });
  expect(asked).toEqual([
    ['create', undefined],
    ['status', undefined],
  ]);
});

test.each([
  ['', { toMs: null }],
  [`?name=${NAME}`, { toMs: null, snapshot: NAME }],
  [`?to=2026-01-31T06:30:00Z&name=${NAME}`, { toMs: Date.UTC(2026, 0, 31, 6, 30), snapshot: NAME }],
  [`?to=${NOW_MS / 1000}`, { toMs: NOW_MS }],
  [`?to=${NOW_MS}`, { toMs: NOW_MS }],
  // Clocks differ by that much.
  [`?to=${NOW_MS + 60_000}`, { toMs: NOW_MS + 60_000 }],
])('restore%s: GET only plans it, POST begins it', async (query, request) => {
  const { ask, asked } = await setUp();
  expect((await ask('GET', `/control/snapshots/restore${query}`)).status).toBe(200);
  expect(asked).toEqual([['plan', request]]);
  expect((await ask('POST', `/control/snapshots/restore${query}`)).body).toMatchObject({ stage: 'copying' });
  expect(asked).toEqual([
    ['plan', request],
    ['restore', request],
  ]);
});

test.each([
  ['?to=earliest', /"earliest" is no time/],
  ['?to=offset:4', /is no time/],
  ['?to=', /"" is no time/],
  ['?to=1&to=2', /is no time/],
  [`?to=${'9'.repeat(16)}`, /is no time/],
  [`?to=${NOW_MS + 60_001}`, /lies ahead/],
  ['?name=..%2Fstore', /"\.\.\/store" is no name/],
  [`?name=${NAME}&name=${NAME}`, /is no name/],
])('restore%s is refused before anybody is asked', async (query, message) => {
  const { ask, asked } = await setUp();
  for (const method of ['GET', 'POST']) {
    const { status, body } = await ask(method, `/control/snapshots/restore${query}`);
    expect([status, body]).toEqual([
      400,
      { error: expect.stringMatching(message) as string, code: 'invalid', retry: 'never' },
    ]);
  }
  expect(asked).toEqual([]);
});

test.each<[ErrorCode, number]>([
  ['invalid', 400],
  ['not-found', 404],
  ['refused', 409],
  ['unavailable', 503],
  ['malformed', 500],
])('a failure with code %s is answered with it', async (code, status) => {
  const { ask } = await setUp(new MeridianError(code, 'it is so', 'later'));
  const paths = [
    '/control/snapshots',
    '/control/snapshots/restore',
    '/control/reconcile',
    '/control/replay?view=store',
  ];
  for (const path of paths) {
    expect(await ask('POST', path)).toEqual({ status, body: { error: 'it is so', code, retry: 'later' } });
  }
});

test('what fails otherwise is unavailable', async () => {
  const { ask } = await setUp(new Error('disk'));
  expect(await ask('POST', '/control/snapshots')).toEqual({
    status: 503,
    body: { error: 'disk', code: 'unavailable', retry: 'later' },
  });
});
