import express, { type Express } from 'express';
import { type ErrorCode, MeridianError, messageOf } from '../../global/runtime/errors.js';
import type { HealthRoutesOptions } from '../../global/runtime/health-routes.js';
import { healthRoutes } from '../../global/runtime/health-routes.js';
import type { ReplayFrom, ReplayProgress } from '../replay.js';
import { isSnapshotName } from '../store/snapshot-record.js';
import type { RestoreRequest, Snapshots } from '../store/snapshot-service.js';

export interface RegionMaintenance {
  replay(view: string, from: ReplayFrom): Promise<void>;
  replayProgress(): Promise<ReplayProgress>;
  /** Cuts, heals or delays the link from a region; for trying out what a bad network does. Throws `invalid` for an unknown region. */
  setLink(from: string, change: { cut?: boolean; delayMs?: number }): void;
  /** Of the store. */
  readonly snapshots: Pick<Snapshots, 'create' | 'status' | 'plan' | 'beginRestore'>;
  /** Compares the index with every peer's; resolves with a report per peer. */
  reconcile(): Promise<unknown>;
}

/**
 * The region's port for operators: health, metrics, and the maintenance that `meridian replay`, `reconcile` and `snapshot` ask for. It binds
 * to loopback unless it is told otherwise. What fails is answered with `{"error", "code", "retry"}`, the latter two as in `MeridianError`.
 */
export function adminApi(health: HealthRoutesOptions, maintenance: () => RegionMaintenance): Express {
  const app = express();
  app.disable('x-powered-by');
  app.use(healthRoutes(health));
  app.post('/control/replay', async (request, response) => {
    await answer(response, async () => {
      const { view, from } = request.query;
      if (typeof view !== 'string') throw new MeridianError('invalid', 'replay: "view" is missing', 'never');
      await maintenance().replay(view, parseReplayFrom(typeof from === 'string' ? from : 'earliest'));
      return maintenance().replayProgress();
    });
  });
  app.get('/control/replay', async (_request, response) => {
    await answer(response, () => maintenance().replayProgress());
  });
  app.post('/control/reconcile', async (_request, response) => {
    await answer(response, () => maintenance().reconcile());
  });
  app.post('/control/snapshots', async (_request, response) => {
    await answer(response, () => maintenance().snapshots.create());
  });
  app.get('/control/snapshots', async (_request, response) => {
    await answer(response, () => maintenance().snapshots.status());
  });
  // What a restore would do, and doing it.
  app.get('/control/snapshots/restore', async (request, response) => {
    await answer(response, async () =>
      maintenance().snapshots.plan(restoreRequest(request.query, health.clock.nowMs())),
    );
  });
  app.post('/control/snapshots/restore', async (request, response) => {
    await answer(response, async () =>
      maintenance().snapshots.beginRestore(restoreRequest(request.query, health.clock.nowMs())),
    );
  });
  app.post('/control/links/:from', async (request, response) => {
    await answer(response, async () => {
      const { cut, delayMs } = request.query;
      if (delayMs !== undefined && !(typeof delayMs === 'string' && /^\d{1,5}$/.test(delayMs))) {
        throw new MeridianError('invalid', 'link: delayMs is no whole number below 100,000', 'never');
      }
      maintenance().setLink(request.params.from, {
        ...(cut === undefined ? {} : { cut: cut === 'true' }),
        ...(delayMs === undefined ? {} : { delayMs: Number(delayMs) }),
      });
      return { done: true };
    });
  });
  return app;
}

/** What went wrong as a status; the code tells it exactly. */
const STATUSES: Partial<Record<ErrorCode, number>> = { invalid: 400, 'not-found': 404, refused: 409, unavailable: 503 };

async function answer(response: express.Response, act: () => Promise<unknown>): Promise<void> {
  try {
    response.json(await act());
  } catch (error) {
    const { code, retry } = error instanceof MeridianError ? error : ({ code: 'unavailable', retry: 'later' } as const);
    response.status(STATUSES[code] ?? 500).json({ error: messageOf(error), code, retry });
  }
}

/** A time may be as far ahead of this machine's clock as clocks differ; further ahead it is a slip. */
const AHEAD_MS_MAX = 60_000;

function restoreRequest({ to, name }: Readonly<Record<string, unknown>>, nowMs: number): RestoreRequest {
  const toMs = to === undefined ? null : timeOf(to);
  if (Number.isNaN(toMs)) {
    throw new MeridianError('invalid', `restore: to "${shown(to)}" is no time (RFC 3339 or Unix time)`, 'never');
  }
  if (toMs !== null && toMs > nowMs + AHEAD_MS_MAX) {
    const message = `restore: ${new Date(toMs).toISOString()} lies ahead; it is ${new Date(nowMs).toISOString()}`;
    throw new MeridianError('invalid', message, 'never');
  }
  if (name === undefined) return { toMs };
  if (typeof name === 'string' && isSnapshotName(name)) return { toMs, snapshot: name };
  throw new MeridianError('invalid', `restore: "${shown(name)}" is no name of a snapshot`, 'never');
}

function shown(value: unknown): string {
  return String(value).slice(0, 60);
}

/** Unix time (seconds or milliseconds by magnitude) or RFC 3339, in Unix ms; NaN where it is neither. */
function timeOf(value: unknown): number {
  if (typeof value !== 'string') return Number.NaN;
  if (/^\d{1,15}$/.test(value)) {
    const number = Number(value);
    return number < 1e11 ? number * 1000 : number;
  }
  return /^\d{4}-\d{2}-\d{2}/.test(value) ? Date.parse(value) : Number.NaN;
}

/** `earliest`, `offset:N`, Unix time (seconds or milliseconds by magnitude) or RFC 3339. Throws `invalid`. */
export function parseReplayFrom(text: string): ReplayFrom {
  if (text === 'earliest') return { kind: 'earliest' };
  const offset = /^offset:(\d{1,15})$/.exec(text);
  if (offset) return { kind: 'offset', offset: Number(offset[1]) };
  const ms = timeOf(text);
  if (Number.isNaN(ms)) {
    const message = `replay: "${shown(text)}" is no time, no offset:N and not "earliest"`;
    throw new MeridianError('invalid', message, 'never');
  }
  return { kind: 'time', ms };
}
