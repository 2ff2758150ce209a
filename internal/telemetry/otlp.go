package telemetry

import (
	"encoding/json"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// The JSON form of OTLP's ExportTraceServiceRequest, as far as it is used here: what
// is posted to a collector, and what a line of the file is. Ids are hexadecimal and
// 64-bit numbers are texts, as OTLP says.
type otlpRequest struct {
	Resources []otlpResource `json:"resourceSpans"`
}

type otlpResource struct {
	Resource struct {
		Attributes []otlpAttribute `json:"attributes"`
	} `json:"resource"`
	Scopes []otlpScope `json:"scopeSpans"`
}

type otlpScope struct {
	Scope struct {
		Name string `json:"name"`
	} `json:"scope"`
	Spans []otlpSpan `json:"spans"`
}

type otlpSpan struct {
	TraceID    string          `json:"traceId"`
	SpanID     string          `json:"spanId"`
	ParentID   string          `json:"parentSpanId,omitempty"`
	Name       string          `json:"name"`
	Kind       int             `json:"kind"`
	Start      string          `json:"startTimeUnixNano"`
	End        string          `json:"endTimeUnixNano"`
	Attributes []otlpAttribute `json:"attributes,omitempty"`
	Links      []otlpLink      `json:"links,omitempty"`
	Lost       int             `json:"droppedLinksCount,omitempty"`
	Status     *otlpStatus     `json:"status,omitempty"`
}

type otlpLink struct {
	TraceID string `json:"traceId"`
	SpanID  string `json:"spanId"`
}

type otlpStatus struct {
	Code    int    `json:"code"`
	Message string `json:"message,omitempty"`
}

type otlpAttribute struct {
	Key   string    `json:"key"`
	Value otlpValue `json:"value"`
}

type otlpValue struct {
	Text *string `json:"stringValue,omitempty"`
	Int  *string `json:"intValue,omitempty"`
	Bool *bool   `json:"boolValue,omitempty"`
}

func (v otlpValue) String() string {
	switch {
	case v.Text != nil:
		return *v.Text
	case v.Int != nil:
		return *v.Int
	case v.Bool != nil:
		return strconv.FormatBool(*v.Bool)
	}
	return ""
}

const otlpError = 2

// encode gives spans of this process.
func encode(batch []sdk.ReadOnlySpan) []byte {
	var r otlpResource
	r.Resource.Attributes = otlpAttributes(batch[0].Resource().Attributes())
	var scope otlpScope
	scope.Scope.Name = batch[0].InstrumentationScope().Name
	for _, s := range batch {
		scope.Spans = append(scope.Spans, otlpOf(s))
	}
	r.Scopes = []otlpScope{scope}
	b, err := json.Marshal(otlpRequest{Resources: []otlpResource{r}})
	if err != nil {
		panic(err) // texts and numbers: cannot fail
	}
	return b
}

func otlpOf(s sdk.ReadOnlySpan) otlpSpan {
	out := otlpSpan{TraceID: s.SpanContext().TraceID().String(), SpanID: s.SpanContext().SpanID().String(), Name: s.Name(), Kind: int(s.SpanKind()),
		Start: strconv.FormatInt(s.StartTime().UnixNano(), 10), End: strconv.FormatInt(s.EndTime().UnixNano(), 10),
		Attributes: otlpAttributes(s.Attributes()), Lost: s.DroppedLinks()}
	if s.Parent().HasSpanID() {
		out.ParentID = s.Parent().SpanID().String()
	}
	for _, l := range s.Links() {
		out.Links = append(out.Links, otlpLink{l.SpanContext.TraceID().String(), l.SpanContext.SpanID().String()})
	}
	if s.Status().Code == codes.Error {
		out.Status = &otlpStatus{otlpError, s.Status().Description}
	}
	return out
}

func otlpAttributes(list []attribute.KeyValue) []otlpAttribute {
	out := make([]otlpAttribute, len(list))
	for i, a := range list {
		out[i].Key = string(a.Key)
		switch a.Value.Type() {
		case attribute.INT64:
			text := strconv.FormatInt(a.Value.AsInt64(), 10)
			out[i].Value.Int = &text
		case attribute.BOOL:
			yes := a.Value.AsBool()
			out[i].Value.Bool = &yes
		default:
			text := a.Value.String()
			out[i].Value.Text = &text
		}
	}
	return out
}
