/**
 * Something with a life: started once, stopped once. `start` resolves when it can be used; `stop` drains (finishes or
 * hands back what was accepted), is safe to call twice, and resolves when nothing of it runs any more.
 */
export interface Service {
  start(): Promise<void>;
  stop(): Promise<void>;
}

export type PartState = 'ok' | 'degraded' | 'down';

/** What a part of a region or router says about itself; shown by health endpoints, status and doctor. */
export interface PartHealth {
  readonly part: string;
  readonly state: PartState;
  readonly detail?: string;
  /** Wall clock of the last change of state, where known. */
  readonly sinceMs?: number;
}

export interface HealthCheck {
  readonly part: string;
  /** Resolves within a time limit that the caller sets; a rejection counts as down. */
  check(): Promise<PartHealth>;
}
