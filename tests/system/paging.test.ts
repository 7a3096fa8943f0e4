import { pagingSuite } from './suites/paging.js';
import { useFleet } from './use-fleet.js';

pagingSuite(useFleet({ regionOptions: { assemblerSettleMs: 150 } }));
