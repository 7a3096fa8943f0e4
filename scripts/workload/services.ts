import type { RegionId } from '../../global/model/ids.js';

/**
 * The sample workload: a small shop whose services live in different regions and call each other over HTTP. Each sends its
 * spans to the collector of its own region only, so most traces have parts in two or three regions.
 */
export interface ServiceSpec {
  readonly name: string;
  /** Index of its region among the fleet's regions, modulo their number. */
  readonly regionIndex: number;
  readonly routes: readonly RouteSpec[];
}

export interface RouteSpec {
  readonly method: 'get' | 'post';
  readonly path: string;
  /** Typical own time; the actual one varies around it. */
  readonly workMs: number;
  /** Share of requests that take ten times as long, 0 to 1. */
  readonly slowShare: number;
  /** Share of requests that fail with 500 after their own work, 0 to 1. */
  readonly errorShare: number;
  readonly calls: readonly CallSpec[];
}

export interface CallSpec {
  readonly service: string;
  readonly method: 'get' | 'post';
  readonly path: string;
  /** Calls with the same number run at once; numbers run one after another. */
  readonly step: number;
}

const route = (method: 'get' | 'post', path: string, workMs: number, more: Partial<RouteSpec> = {}): RouteSpec => ({
  method,
  path,
  workMs,
  slowShare: 0,
  errorShare: 0,
  calls: [],
  ...more,
});

const call = (step: number, service: string, method: 'get' | 'post', path: string): CallSpec => ({
  service,
  method,
  path,
  step,
});

export const WORKLOAD: readonly ServiceSpec[] = [
  {
    name: 'gateway',
    regionIndex: 0,
    routes: [
      route('post', '/checkout', 3, {
        calls: [call(1, 'orders', 'post', '/orders'), call(2, 'notifications', 'post', '/messages')],
      }),
      route('get', '/products', 2, { calls: [call(1, 'inventory', 'get', '/stock')] }),
    ],
  },
  {
    name: 'orders',
    regionIndex: 0,
    routes: [
      route('post', '/orders', 5, {
        slowShare: 0.03,
        calls: [
          call(1, 'inventory', 'post', '/reservations'),
          call(1, 'payments', 'post', '/charges'),
          call(2, 'inventory', 'get', '/stock'),
        ],
      }),
    ],
  },
  {
    name: 'inventory',
    regionIndex: 1,
    routes: [route('get', '/stock', 2), route('post', '/reservations', 6, { slowShare: 0.05, errorShare: 0.02 })],
  },
  {
    name: 'payments',
    regionIndex: 2,
    routes: [
      route('post', '/charges', 12, {
        slowShare: 0.05,
        errorShare: 0.04,
        calls: [call(1, 'ledger', 'post', '/entries')],
      }),
    ],
  },
  { name: 'ledger', regionIndex: 2, routes: [route('post', '/entries', 4)] },
  { name: 'notifications', regionIndex: 1, routes: [route('post', '/messages', 3, { errorShare: 0.01 })] },
];

/** What the driver asks the gateway for, with weights. */
export const ENTRY_POINTS: readonly { method: 'get' | 'post'; path: string; weight: number }[] = [
  { method: 'post', path: '/checkout', weight: 2 },
  { method: 'get', path: '/products', weight: 1 },
];

/** The region that a service runs in. */
export function regionOf(service: ServiceSpec, regions: readonly RegionId[]): RegionId {
  return regions[service.regionIndex % regions.length]!;
}
