package bench

import (
	"runtime"
	"slices"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Report is the document of one workload on one target. Its JSON form is read by scripts and by `bench compare`; a
// figure that was not measured is absent.
type Report struct {
	Kind     string   `json:"kind"` // BenchRun
	Workload string   `json:"workload"`
	Target   string   `json:"target"`
	Version  string   `json:"version"`
	Settings Settings `json:"settings"`
	Machine  Machine  `json:"machine"`
	Runs     []Run    `json:"runs"`

	PerSecMedian float64 `json:"per_s_median"`
	PerSecMin    float64 `json:"per_s_min"`
	PerSecMax    float64 `json:"per_s_max"`
}

// Settings are what the load was.
type Settings struct {
	Size      int     `json:"size"`
	Senders   int     `json:"senders"`
	InFlight  int     `json:"inflight"`
	Mailboxes int     `json:"mailboxes"`
	IDs       string  `json:"ids"` // counted or keyed
	WarmupS   float64 `json:"warmup_s"`
	DurationS float64 `json:"duration_s"`
	Seed      uint64  `json:"seed"`
	Nodes     int     `json:"nodes,omitempty"`
	Cluster   string  `json:"cluster"` // own: processes that the benchmark started; else the context's name
	// Placement is the processor that each process was kept on, by "client" and the nodes' names; absent where they ran
	// on any.
	Placement map[string]int `json:"placement,omitempty"`
}

// Machine is what it ran on.
type Machine struct {
	CPU            string  `json:"cpu,omitempty"`
	Cores          int     `json:"cores"`
	OS             string  `json:"os"`
	FdatasyncP50US float64 `json:"fdatasync_p50_us,omitempty"` // 4 KiB into preallocated space, in the same minute
	MemoryReadNS   float64 `json:"memory_read_ns,omitempty"`   // a word of 8 MiB that are read in no order, likewise
}

// Run is one measured stretch.
type Run struct {
	Messages  int64   `json:"messages"`
	Seconds   float64 `json:"seconds"`
	PerSec    float64 `json:"per_s"`
	LatencyUS Latency `json:"latency_us"`
	Errors    int64   `json:"errors"`

	DiskBytesPerPayloadByte float64 `json:"disk_bytes_per_payload_byte,omitempty"` // all nodes together
	CPUPerMillion           float64 `json:"cpu_s_per_million,omitempty"`           // client and nodes together
	ClientCPUPerMillion     float64 `json:"client_cpu_s_per_million,omitempty"`
	NodesCPUPerMillion      float64 `json:"nodes_cpu_s_per_million,omitempty"`
	RSSBytes                int64   `json:"rss_bytes,omitempty"` // of the largest node at the end of the run
	AllocsPerMessage        float64 `json:"allocs_per_message"`  // of the client
	// OthersCPUShare is the part of the machine's processors that neither client nor nodes had, but somebody else.
	OthersCPUShare float64 `json:"others_cpu_share,omitempty"`
}

// Latency is from handing a message to the client to its acknowledgement.
type Latency struct {
	P50  int64 `json:"p50"`
	P99  int64 `json:"p99"`
	P999 int64 `json:"p999"`
	Max  int64 `json:"max"`
}

func newReport(workload string, o Options) *Report {
	ids := "counted"
	if o.Keyed {
		ids = "keyed"
	}
	return &Report{
		Kind: "BenchRun", Workload: workload,
		Settings: Settings{
			Size: o.Size, Senders: o.Senders, InFlight: o.InFlight, Mailboxes: o.Mailboxes, IDs: ids,
			WarmupS: o.Warmup.Seconds(), DurationS: o.Duration.Seconds(), Seed: o.Seed,
		},
		Machine: Machine{CPU: cpuName(), Cores: runtime.NumCPU(), OS: runtime.GOOS},
	}
}

// summarize fills the figures over all runs.
func (r *Report) summarize() {
	rates := make([]float64, len(r.Runs))
	for i, run := range r.Runs {
		rates[i] = run.PerSec
	}
	slices.Sort(rates)
	if n := len(rates); n > 0 {
		r.PerSecMin, r.PerSecMax = rates[0], rates[n-1]
		r.PerSecMedian = (rates[(n-1)/2] + rates[n/2]) / 2
	}
}

// newHistogram holds 1 us to 10 minutes with three digits.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 600_000_000, 3) }

func latency(h *hdrhistogram.Histogram) Latency {
	return Latency{
		P50: h.ValueAtPercentile(50), P99: h.ValueAtPercentile(99), P999: h.ValueAtPercentile(99.9), Max: h.Max(),
	}
}
