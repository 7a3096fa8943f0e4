import { messageOf } from '../../global/runtime/errors.js';

/** What `/health/deep` of a region or router answers. */
export interface DeepAnswer {
  readonly state: string;
  readonly parts: readonly { part: string; state: string; detail?: string; since?: string }[];
}

const BUDGET_MS = 10_000;

/** The deep health at a process's URL. One that does not answer is down; never rejects. */
export async function deepHealthAt(url: string): Promise<DeepAnswer> {
  try {
    const response = await fetch(`${url}/health/deep`, { signal: AbortSignal.timeout(BUDGET_MS) });
    return (await response.json()) as DeepAnswer;
  } catch (error) {
    return {
      state: 'down',
      parts: [{ part: 'process', state: 'down', detail: `${url} does not answer: ${causeOf(error)}` }],
    };
  }
}

/** Why a request failed: `fetch` hides it in the cause. */
export function causeOf(error: unknown): string {
  return error instanceof Error && error.cause ? messageOf(error.cause) : messageOf(error);
}
