import { basename } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { GROUPS, TOPICS } from '../../global/log/topics.js';
import { ROUTES } from '../../router/api/routes.js';
import { type Compose, type Files, mountedFile, REGIONS } from './deployment.js';
import { exportedMetrics, labelsOf, type Metrics, TARGET_LABELS } from './metric-names.js';
import { parsePromql, type Selector } from './promql.js';
import { reach, readRoleConfigs } from './role-configs.js';

const metrics: Metrics = exportedMetrics();
const TOPIC_NAMES: readonly string[] = Object.values(TOPICS);
const GROUP_NAMES: readonly string[] = Object.values(GROUPS);
const ROUTE_PATHS: readonly string[] = ROUTES.map(({ path }) => path);

/** The alerts that requirement Ob1 names. */
const REQUIRED_ALERTS = ['LowIngest', 'AckSlow', 'IngestErrors', 'StorageFull', 'ReplicationLag', 'RegionDown'];

const prometheusSchema = z.strictObject({
  global: z.strictObject({ scrape_interval: z.string(), scrape_timeout: z.string(), evaluation_interval: z.string() }),
  rule_files: z.array(z.string()),
  scrape_configs: z.array(
    z.strictObject({
      job_name: z.string(),
      scrape_interval: z.string().optional(),
      static_configs: z.array(
        z.strictObject({
          targets: z.array(z.string()).min(1),
          labels: z.strictObject({ home: z.string() }).optional(),
        }),
      ),
      metric_relabel_configs: z
        .array(
          z.strictObject({
            source_labels: z.array(z.string()),
            regex: z.string(),
            target_label: z.string(),
            replacement: z.string(),
          }),
        )
        .optional(),
    }),
  ),
});

const alertsSchema = z.strictObject({
  groups: z.array(
    z.strictObject({
      name: z.string(),
      rules: z.array(
        z.strictObject({
          alert: z.string().regex(/^[A-Z]\w+$/),
          expr: z.string(),
          for: z
            .string()
            .regex(/^\d+[smh]$/)
            .optional(),
          labels: z.strictObject({ severity: z.enum(['page', 'ticket']) }),
          annotations: z.strictObject({
            summary: z.string().min(10),
            description: z.string().min(40),
            runbook: z.string().optional(),
          }),
        }),
      ),
    }),
  ),
});

/** Prometheus scrapes every region and every router, labelled by where it stands, and loads rules that are mounted. */
export function checkPrometheus(files: Files, compose: Compose): string[] {
  const { regions, routers } = readRoleConfigs(files, compose);
  const config = prometheusSchema.parse(parse(files.text(prometheusFile(compose))));
  const found: string[] = [];
  for (const file of config.rule_files)
    if (!mountedFile(compose.services.prometheus!, file)) found.push(`prometheus: ${file} is not mounted`);
  const scraped = new Map<string, string | undefined>();
  for (const { static_configs: targets } of config.scrape_configs) {
    for (const { targets: addresses, labels } of targets) {
      for (const address of addresses) {
        const service = address.replace(/^127\.0\.0\.1:/, 'prometheus:');
        found.push(...reach(compose, regions, 'prometheus', service, 'scrapes', routers));
        scraped.set(address, labels?.home);
      }
    }
  }
  for (const region of REGIONS) {
    const wanted = [
      `region-${region}:${regions.get(region)?.adminPort}`,
      `router-${region}:${routers.get(region)?.httpPort}`,
    ];
    for (const address of wanted)
      if (scraped.get(address) !== region) found.push(`prometheus: ${address} is not scraped as ${region}`);
  }
  return found;
}

function prometheusFile(compose: Compose): string {
  const option = compose.services.prometheus?.command.find((word) => word.startsWith('--config.file='));
  const file = option && mountedFile(compose.services.prometheus!, option.slice('--config.file='.length));
  if (!file) throw new Error('prometheus: its configuration is not mounted');
  return file;
}

export function checkAlerts(files: Files, compose: Compose): string[] {
  const path = mountedFile(compose.services.prometheus!, '/etc/prometheus/alerts.yml');
  if (!path) return ['prometheus: /etc/prometheus/alerts.yml is not mounted'];
  const { groups } = alertsSchema.parse(parse(files.text(path)));
  const rules = groups.flatMap((group) => group.rules);
  const found: string[] = [];
  for (const name of REQUIRED_ALERTS)
    if (!rules.some(({ alert }) => alert === name)) found.push(`there is no alert ${name}`);
  for (const { alert, expr, annotations } of rules) {
    if (rules.filter((rule) => rule.alert === alert).length > 1) found.push(`alert ${alert}: there are two`);
    const { problems, labels } = checkQuery(expr);
    found.push(...problems.map((problem) => `alert ${alert}: ${problem}`));
    if (annotations.runbook && !files.exists(annotations.runbook))
      found.push(`alert ${alert}: ${annotations.runbook} does not exist`);
    for (const [, label] of `${annotations.summary} ${annotations.description}`.matchAll(/\$labels\.(\w+)/g)) {
      if (!labels.has(label!)) found.push(`alert ${alert}: its series have no label "${label}"`);
    }
  }
  return found;
}

/** What is wrong with a query, and the labels that its result may have. */
export function checkQuery(text: string): { problems: string[]; labels: ReadonlySet<string> } {
  const problems: string[] = [];
  const labels = new Set<string>();
  try {
    const query = parsePromql(text);
    for (const selector of query.selectors) problems.push(...selectorProblems(selector));
    for (const { labels: grouped, selectors } of query.groupings) {
      for (const label of grouped) {
        labels.add(label);
        if (!selectors.some(({ metric }) => mayHave(metric, label)))
          problems.push(`no series of the sum has a label "${label}"`);
      }
    }
    if (query.groupings.length === 0) {
      for (const { metric } of query.selectors)
        for (const label of [...(labelsOf(metrics, metric) ?? []), ...TARGET_LABELS]) labels.add(label);
    }
  } catch (error) {
    problems.push(`${error instanceof Error ? error.message : error} in ${text}`);
  }
  return { problems, labels };
}

function selectorProblems({ metric, matchers }: Selector): string[] {
  if (labelsOf(metrics, metric) === undefined) return [`nothing exports ${metric}`];
  const problems: string[] = [];
  for (const { label, op, value } of matchers) {
    if (!mayHave(metric, label)) problems.push(`${metric} has no label "${label}"`);
    if (op !== '=') continue;
    if (label === 'topic' && !TOPIC_NAMES.includes(value)) problems.push(`there is no topic ${value}`);
    if (label === 'group' && !GROUP_NAMES.includes(value)) problems.push(`there is no group ${value}`);
    if (label === 'route' && !ROUTE_PATHS.includes(value)) problems.push(`the router has no route ${value}`);
  }
  return problems;
}

function mayHave(metric: string, label: string): boolean {
  const known = labelsOf(metrics, metric);
  return known === null || TARGET_LABELS.includes(label) || (known?.includes(label) ?? false);
}

const datasource = z.looseObject({ type: z.string(), uid: z.string() });
const panelSchema = z.looseObject({
  id: z.int(),
  type: z.enum(['row', 'timeseries', 'stat']),
  title: z.string().min(2),
  gridPos: z.strictObject({ x: z.int().min(0), y: z.int().min(0), w: z.int().min(1), h: z.int().min(1) }),
  datasource: datasource.optional(),
  targets: z.array(z.looseObject({ refId: z.string(), expr: z.string(), datasource })).default([]),
});
const variableQuery = z.looseObject({
  name: z.string(),
  type: z.literal('query'),
  datasource,
  query: z.looseObject({ query: z.string() }),
});
const dashboardSchema = z.looseObject({
  uid: z.string().regex(/^meridian-[a-z]+$/),
  title: z.string().min(2),
  schemaVersion: z.int().min(39),
  annotations: z.looseObject({ list: z.array(z.looseObject({ datasource, expr: z.string() })) }),
  templating: z.looseObject({ list: z.array(variableQuery) }),
  panels: z.array(panelSchema).min(1),
});

export function checkDashboards(files: Files, compose: Compose): string[] {
  const { folder, sources } = grafana(files, compose);
  const found: string[] = [];
  const uids = new Map<string, string>();
  for (const name of files.list(folder)) {
    const dashboard = dashboardSchema.parse(JSON.parse(files.text(`${folder}/${name}`)));
    const wrong = (problem: string) => found.push(`dashboard ${basename(name)}: ${problem}`);
    if (uids.has(dashboard.uid)) wrong(`uid ${dashboard.uid} is also that of ${uids.get(dashboard.uid)}`);
    uids.set(dashboard.uid, name);
    const variables = dashboard.templating.list;
    const named = [
      ...dashboard.panels,
      ...dashboard.panels.flatMap(({ targets }) => targets),
      ...variables,
      ...dashboard.annotations.list,
    ];
    for (const { datasource: one } of named) {
      if (one && sources.get(one.uid) !== one.type) wrong(`there is no ${one.type} data source "${one.uid}"`);
    }
    if (new Set(dashboard.panels.map(({ id }) => id)).size !== dashboard.panels.length)
      wrong('two panels have the same id');
    for (const { query } of variables) {
      const selector = /^label_values\((.+), (\w+)\)$/.exec(query.query);
      for (const problem of selector ? checkQuery(selector[1]!).problems : ['a variable is no label_values()'])
        wrong(problem);
    }
    for (const { expr } of dashboard.annotations.list) for (const problem of checkQuery(expr).problems) wrong(problem);
    for (const panel of dashboard.panels) {
      if (panel.type !== 'row' && panel.targets.length === 0) wrong(`${panel.title} asks for nothing`);
      if (panel.gridPos.x + panel.gridPos.w > 24) wrong(`${panel.title} is wider than the page`);
      if (dashboard.panels.some((other) => other !== panel && overlap(other.gridPos, panel.gridPos)))
        wrong(`${panel.title} lies on another`);
      for (const { expr } of panel.targets) {
        for (const problem of checkQuery(expr).problems) wrong(`${panel.title}: ${problem}`);
        for (const [, variable] of expr.matchAll(/\$(\w+)/g)) {
          if (!variable!.startsWith('__') && !variables.some(({ name: known }) => known === variable))
            wrong(`${panel.title}: there is no $${variable}`);
        }
      }
    }
  }
  for (const wanted of ['ingest', 'pipeline', 'store', 'index', 'router', 'engines']) {
    if (!uids.has(`meridian-${wanted}`)) found.push(`there is no dashboard meridian-${wanted}`);
  }
  const home = compose.services.grafana?.environment.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH;
  const homeFile = mountedFile(compose.services.grafana!, String(home));
  if (!homeFile || !files.exists(homeFile)) found.push(`grafana: its home dashboard ${home} does not exist`);
  return found;
}

type Grid = z.infer<typeof panelSchema>['gridPos'];

function overlap(a: Grid, b: Grid): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

const sourcesSchema = z.strictObject({
  apiVersion: z.literal(1),
  datasources: z.array(
    z.strictObject({
      name: z.string(),
      uid: z.string(),
      type: z.enum(['prometheus', 'jaeger', 'tempo']),
      access: z.literal('proxy'),
      url: z.url(),
      isDefault: z.boolean().optional(),
      jsonData: z.looseObject({}).optional(),
    }),
  ),
});
const providersSchema = z.strictObject({
  apiVersion: z.literal(1),
  providers: z
    .array(z.looseObject({ name: z.string(), type: z.literal('file'), options: z.strictObject({ path: z.string() }) }))
    .length(1),
});

function grafana(files: Files, compose: Compose) {
  const one = compose.services.grafana!;
  const file = (path: string) => {
    const mounted = mountedFile(one, path);
    if (!mounted) throw new Error(`grafana: ${path} is not mounted`);
    return mounted;
  };
  const { datasources } = sourcesSchema.parse(
    parse(files.text(file('/etc/grafana/provisioning/datasources/datasources.yml'))),
  );
  const { providers } = providersSchema.parse(
    parse(files.text(file('/etc/grafana/provisioning/dashboards/dashboards.yml'))),
  );
  return {
    datasources,
    sources: new Map<string, string>(datasources.map(({ uid, type }) => [uid, type])),
    folder: file(providers[0]!.options.path),
  };
}

/** Data sources and the Jaeger UI's proxy lead to what listens; each router is a data source. */
export function checkQueryFronts(files: Files, compose: Compose): string[] {
  const { regions, routers } = readRoleConfigs(files, compose);
  const { datasources, sources } = grafana(files, compose);
  const found = datasources.flatMap(({ url }) =>
    reach(compose, regions, 'grafana', new URL(url).host, 'data source', routers),
  );
  if (sources.size !== datasources.length) found.push('two data sources have the same uid');
  const traces = datasources.filter(({ type }) => type === 'jaeger').map(({ url }) => new URL(url).hostname);
  for (const region of REGIONS)
    if (!traces.includes(`router-${region}`)) found.push(`the router of ${region} is no data source`);

  const nginx = mountedFile(compose.services['jaeger-ui']!, '/etc/nginx/nginx.conf');
  const text = nginx ? files.text(nginx) : '';
  const upstreams = [...text.matchAll(/upstream (\w+) \{([^}]*)\}/g)].map(([, name, body]) => ({
    name,
    servers: [...body!.matchAll(/server ([^ ;]+)/g)].map(([, address]) => address!),
  }));
  for (const { servers } of upstreams)
    for (const address of servers) found.push(...reach(compose, regions, 'jaeger-ui', address, 'upstream', routers));
  if (upstreams.find(({ name }) => name === 'routers')?.servers.length !== REGIONS.length)
    found.push('jaeger-ui: not every router is an upstream');
  for (const [, name] of text.matchAll(/proxy_pass http:\/\/(\w+);/g))
    if (!upstreams.some((one) => one.name === name)) found.push(`jaeger-ui: there is no upstream ${name}`);
  if (!/listen 8080;/.test(text)) found.push('jaeger-ui: nginx does not listen on 8080');
  const open = (text.match(/\{/g) ?? []).length;
  if (open === 0 || open !== (text.match(/\}/g) ?? []).length)
    found.push('jaeger-ui: brackets of nginx.conf are not balanced');
  return [...found, ...notServedYet(files)];
}

/** The documentation says so as long as the routers do not speak Jaeger's API, and no longer. */
function notServedYet(files: Files): string[] {
  const isServed = ROUTE_PATHS.some((path) => path.startsWith('/api/'));
  const isSaid = files.text('docs/deploying.md').includes('do not serve the Jaeger API yet');
  return isServed === isSaid ? ["docs/deploying.md is wrong about the routers' Jaeger API"] : [];
}
