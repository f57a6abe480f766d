package environment

import "testing"

type options struct {
	size int
	env  Env
}

func TestWithKeepsTheOptions(t *testing.T) {
	defer func(before []func(any, Env) bool) { setters = before }(setters)
	Register(func(o *options, env Env) { o.env = env })
	before := options{size: 7}
	after := With(before, Env{Manual: true})
	if after.size != 7 || !after.env.Manual || before.env.Manual {
		t.Errorf("before %+v, after %+v", before, after)
	}
	defer func() {
		if recover() == nil {
			t.Error("options that nobody registered have an environment")
		}
	}()
	With(struct{}{}, Env{})
}
